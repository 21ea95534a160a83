"""Bad media of every class, through a chat with a tiny thinker that sees and hears: an error with a code from
the fixed list, one line, quickly; and an engine that answers the next question as it did before."""

import pathlib
import re
import struct
import time
import zlib

import numpy as np
import pytest

import onnuri
from test_hearing_chat import sound, wav
from test_media_order import model  # noqa: F401 (a fixture)
from test_vision_chat import picture, png

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
CODES = {"invalid_argument", "not_found", "corrupt_data", "unsupported", "out_of_memory"}
GOOD_IMAGE, GOOD_SOUND = picture(60, 90, 1), sound(0.7, 2)


def media(kind, value):
    return [{"role": "user", "content": [{"type": kind, kind: value}, {"type": "text", "text": "what?"}]}]


class Asker:
    def __init__(self, folder, **options):
        self.engine = onnuri.Engine(folder, compute_dtype="float32", num_threads=1, context_size=4096, **options)
        self.answer = self.good()

    def ask(self, kind, value):
        return self.engine.generate(messages=media(kind, value), max_new_tokens=2, ignore_eos=True).token_ids

    def good(self):
        return [self.ask("image", GOOD_IMAGE), self.ask("audio", GOOD_SOUND)]

    def refuses(self, kind, value, *codes, match=None, seconds=30):
        start = time.monotonic()
        with pytest.raises(onnuri.Error, match=match) as caught:
            self.ask(kind, value)
        assert time.monotonic() - start < seconds
        assert caught.value.code in (codes or CODES), caught.value
        assert not re.search(r"\n|0x[0-9a-f]{8}", str(caught.value))  # one line, no addresses
        assert self.good() == self.answer

    def survives(self, kind, value):
        """An answer or an error of the list; never anything else."""
        try:
            self.ask(kind, value)
        except onnuri.Error as error:
            assert error.code in CODES, error


@pytest.fixture(scope="module")
def asker(model):  # noqa: F811
    return Asker(model)


def image_files():
    """The files of tests/golden/images.safetensors."""
    import json

    data = (GOLDEN / "images.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    return {name[5:]: data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]
            for name, t in header.items() if name.startswith("file.")}


IMAGES = image_files()


# --- pictures

@pytest.mark.parametrize("height, width", [(1, 1), (1, 2), (2, 1), (1, 200), (200, 1), (3, 600)])
def test_small_and_thin_pictures_are_seen(asker, height, width):
    assert len(asker.ask("image", picture(height, width, 3))) == 2
    assert len(asker.ask("image", png(picture(height, width, 3)))) == 2


@pytest.mark.parametrize("height, width", [(1, 201), (201, 1), (1, 5000), (5000, 1)])
def test_sides_too_far_apart(asker, height, width):
    asker.refuses("image", picture(height, width, 4), "invalid_argument")
    asker.refuses("image", png(picture(height, width, 4)), "invalid_argument")


@pytest.mark.parametrize("name", ["jpeg_420", "jpeg_progressive", "png_rgb", "png_16_rgb", "png_interlaced", "gif", "bmp",
                                  "tiff", "tiff_lzw", "webp_lossy", "webp_lossless", "avif", "heic"])
def test_truncated_pictures(asker, name):
    whole = IMAGES[name]
    assert len(asker.ask("image", whole)) == 2
    for share in (0.02, 0.3, 0.7):
        asker.refuses("image", whole[:int(len(whole) * share)], "corrupt_data")


def patched(data, at, value):
    return data[:at] + value + data[at + len(value):]


def test_lying_picture_headers(asker):
    good = png(picture(40, 40, 5))
    for w, h in [(16000, 16000), (0x7FFFFFFF, 1), (0xFFFFFFFF, 0xFFFFFFFF)]:
        asker.refuses("image", patched(good, 16, struct.pack(">II", w, h)), "out_of_memory", seconds=5)
    asker.refuses("image", patched(good, 16, struct.pack(">II", 0, 40)), "corrupt_data")
    asker.survives("image", patched(good, 16, struct.pack(">II", 400, 400)))  # pixels that are not there
    jpeg = IMAGES["jpeg_444"]
    frame = jpeg.index(b"\xff\xc0") + 5
    asker.refuses("image", patched(jpeg, frame, struct.pack(">HH", 65500, 65500)), "out_of_memory", seconds=5)
    asker.refuses("image", patched(jpeg, frame, struct.pack(">HH", 4000, 4000)), "corrupt_data")
    gif = IMAGES["gif"]
    asker.refuses("image", patched(gif, 6, b"\xff\xff\xff\xff"), seconds=5)
    bmp = IMAGES["bmp"]
    asker.refuses("image", patched(bmp, 18, struct.pack("<ii", 60000, 60000)), "out_of_memory", seconds=5)
    asker.refuses("image", patched(bmp, 18, struct.pack("<ii", -2**31, -2**31)), seconds=5)
    for name in ("heic", "avif"):
        start = time.monotonic()  # what counts is the size of the coded picture, which is not this one
        for at in [m.start() + 8 for m in re.finditer(b"ispe", IMAGES[name])]:
            asker.survives("image", patched(IMAGES[name], at, struct.pack(">II", 60000, 60000)))
        assert time.monotonic() - start < 10


JP2_STREAM = bytes.fromhex(
    "ff4fff51002f000000000002000000020000000000000000000000020000000200000000000000000003070101070101070101ff52000c0000"
    "0001000104040001ff5c00074040484850ff90000a0000000000200001ff93cfb408044fcfb4080997cfb4080997808080ffd9")
JP2_FILE = bytes.fromhex(
    "0000000c6a5020200d0a870a00000014667479706a703220000000006a7032200000002d6a703268000000166968647200000002000000020003"
    "070700000000000f636f6c7201000000000010") + struct.pack(">I", len(JP2_STREAM) + 8) + b"jp2c" + JP2_STREAM


def test_jpeg_2000_is_not_on_the_list(asker):
    asker.refuses("image", JP2_STREAM)
    asker.refuses("image", JP2_FILE)
    asker.refuses("video", JP2_FILE)
    movie = (GOLDEN / "videos" / "steady.mp4").read_bytes()
    asker.refuses("video", movie.replace(b"avc1", b"mjp2"), "unsupported", "corrupt_data")
    asker.refuses("image", JP2_FILE.replace(b"jp2 ", b"heic"))


def tiff(tag, values, kind=3):
    """A grey TIFF of 4 x 4 eight-bit samples with one more tag."""
    entries = [(256, 3, [4]), (257, 3, [4]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]), (273, 4, [0]), (277, 3, [1]),
               (278, 3, [4]), (279, 4, [16]), (tag, kind, values)]
    strip = 8 + 2 + 12 * len(entries) + 4
    body = b""
    for name, form, found in sorted(entries):
        found = [strip] if name == 273 else found
        packed = struct.pack("<" + ("H" if form == 3 else "I") * len(found), *found)
        if len(packed) > 4:
            packed = struct.pack("<I", strip + 16)
        body += struct.pack("<HHI", name, form, len(found)) + packed.ljust(4, b"\0")
    tail = struct.pack("<" + "H" * len(values), *values) if kind == 3 else b""
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + bytes(range(0, 256, 16)) + tail


def test_tags_of_tiff(asker):
    plain = asker.ask("image", tiff(305, [7]))  # of no meaning to a decoder
    for tag, values in ((338, [2]), (339, [1]), (339, [1, 1, 1]), (700, [1, 2, 3, 4]), (34377, [9]), (65000, [5])):
        assert asker.ask("image", tiff(tag, values)) == plain, tag
    for values in ([2], [3], [3, 3, 3], [65535]):  # signed and floating samples
        asker.refuses("image", tiff(339, values), "corrupt_data")


# --- sound

SOUNDS = sorted(p.name for p in (GOLDEN / "sounds").iterdir())


@pytest.mark.parametrize("name", SOUNDS)
def test_truncated_sounds(asker, name):
    """What is there is heard; a file without sound is refused."""
    whole = (GOLDEN / "sounds" / name).read_bytes()
    assert len(asker.ask("audio", whole)) == 2
    asker.refuses("audio", whole[:3], "corrupt_data")
    for share in (0.02, 0.1, 0.5, 0.9):
        asker.survives("audio", whole[:int(len(whole) * share)])
    assert asker.good() == asker.answer


def rated(rate):
    return patched(wav(GOOD_SOUND), 24, struct.pack("<I", rate))


@pytest.mark.parametrize("rate", [0, 1, 655_350, 2**31 - 1, 2**31, 2**32 - 16_000, 2**32 - 1])
def test_forged_sample_rates(asker, rate):
    asker.refuses("audio", rated(rate), "unsupported", "corrupt_data")
    if rate != 655_350:
        return
    flac = (GOLDEN / "sounds" / "tone.flac").read_bytes()  # twenty bits of the rate behind the marker and sizes
    at = 8 + 10
    for channels in (flac[at + 2] & 15, 0xE):  # the second: eight channels
        asker.survives("audio", patched(flac, at, bytes([0xFF, 0xFF, 0xF0 | channels])))
    assert asker.good() == asker.answer


@pytest.mark.parametrize("rate", [0, -1, -16_000, 1, 2**31, 2**62])
def test_forged_rates_of_arrays(asker, rate):
    asker.refuses("audio", (GOOD_SOUND, rate))


def test_lying_sound_headers(asker):
    good = wav(GOOD_SOUND)
    whole = asker.ask("audio", good)
    for size in (0xFFFFFFFF, 0x7FFFFFFF):  # what is there counts
        assert asker.ask("audio", patched(good, 40, struct.pack("<I", size))) == whole
    asker.refuses("audio", patched(good, 22, struct.pack("<H", 0)))  # no channels
    asker.survives("audio", patched(good, 22, struct.pack("<H", 65535)))
    asker.survives("audio", patched(good, 34, struct.pack("<H", 0)))  # no bits
    assert asker.good() == asker.answer


def float_wav(samples):
    data = np.asarray(samples, "<f4").tobytes()
    head = struct.pack("<HHIIHH", 3, 1, 16000, 64000, 4, 32)
    return (b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + head + b"data"
            + struct.pack("<I", len(data)) + data)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(asker, bad):
    broken = GOOD_SOUND.copy()
    broken[100] = bad
    asker.refuses("audio", broken)
    asker.refuses("audio", float_wav(broken), "corrupt_data")
    with pytest.raises(onnuri.Error):
        asker.engine.encode_audio(broken)
    assert asker.good() == asker.answer


def test_no_samples_at_all(asker):
    asker.refuses("audio", wav(np.zeros(0, np.float32)), "corrupt_data")
    asker.refuses("audio", b"")
    asker.survives("audio", np.zeros(0, np.float32))
    asker.survives("audio", np.zeros(1, np.float32))
    assert asker.good() == asker.answer


def crc(data, table=[]):  # noqa: B006 (made once)
    """The checksum of Ogg pages: polynomial 0x04C11DB7, neither reflected nor inverted."""
    if not table:
        for i in range(256):
            r = i << 24
            for _ in range(8):
                r = (r << 1 ^ (0x04C11DB7 if r & 0x80000000 else 0)) & 0xFFFFFFFF
            table.append(r)
    r = 0
    for byte in data:
        r = (r << 8 & 0xFFFFFFFF) ^ table[r >> 24 ^ byte]
    return r


def silent_opus(hours):
    """Opus in Ogg, three bytes for each 120 ms: two frames of 60 ms that hold nothing."""
    def page(packets, granule, number, flags):
        lacing = bytes(len(p) for p in packets)
        head = b"OggS\0" + struct.pack("<BqII", flags, granule, 7, number)
        body = bytes([len(packets)]) + lacing + b"".join(packets)
        return head + struct.pack("<I", crc(head + b"\0\0\0\0" + body)) + body

    out = [page([b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48000, 0, 0)], 0, 0, 2),
           page([b"OpusTags" + struct.pack("<II", 0, 0)], 0, 1, 0)]
    packet, per_page = bytes([0x18 | 3, 2]), 250  # code 3: a number of frames of one size, here none of bytes
    pages = int(hours * 3600 / (per_page * 0.12))
    for i in range(pages):
        out.append(page([packet] * per_page, (i + 1) * per_page * 5760, 2 + i, 4 if i == pages - 1 else 0))
    return b"".join(out)


def test_hours_of_opus_in_a_small_file(asker, model):  # noqa: F811
    short = silent_opus(0.01)
    assert asker.survives("audio", short) is None
    hour = silent_opus(1)
    assert len(hour) < 200_000
    small = Asker(model, max_media_bytes=16 << 20)
    small.refuses("audio", hour, "out_of_memory", match="16777216", seconds=60)
    asker.refuses("audio", silent_opus(9), "out_of_memory", match="536870912", seconds=120)


def test_the_setting_counts_all_media_of_a_request(model):  # noqa: F811
    small = Asker(model, max_media_bytes=60 * 90 * 3 * 3)
    parts = [{"type": "image", "image": GOOD_IMAGE}] * 4
    with pytest.raises(onnuri.Error) as caught:
        small.engine.generate(messages=[{"role": "user", "content": parts}], max_new_tokens=1)
    assert caught.value.code == "out_of_memory"
    assert len(small.engine.generate(messages=[{"role": "user", "content": parts[:3]}], max_new_tokens=1).token_ids) == 1
    with pytest.raises(onnuri.Error, match="max_media_bytes"):
        onnuri.Engine(model, max_media_bytes=0)


# --- video

VIDEOS = sorted(p.name for p in (GOLDEN / "videos").iterdir())


@pytest.mark.parametrize("name", VIDEOS)
def test_truncated_videos(asker, name):
    whole = (GOLDEN / "videos" / name).read_bytes()
    assert len(asker.ask("video", whole)) == 2
    asker.refuses("video", whole[:20], "corrupt_data")
    for share in (0.1, 0.5, 0.9):
        asker.survives("video", whole[:int(len(whole) * share)])
    assert asker.good() == asker.answer


def test_lying_video_headers(asker):
    mp4 = (GOLDEN / "videos" / "steady.mp4").read_bytes()

    def after(tag, offset, value):
        asker.survives("video", patched(mp4, mp4.index(tag) + offset, value))

    for box in (b"moov", b"trak", b"stbl", b"stts", b"stsz", b"stco", b"mdat"):
        for size in (0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF):
            after(box, -4, struct.pack(">I", size))
    for table in (b"stts", b"stsz", b"stsc", b"stco", b"stss", b"ctts"):
        after(table, 8, struct.pack(">I", 0x7FFFFFFF))
        after(table, 12, struct.pack(">I", 1_000_000_000))
    after(b"mdhd", 16, struct.pack(">I", 0))  # ticks of a second
    after(b"mdhd", 16, struct.pack(">I", 0xFFFFFFFF))
    after(b"elst", 8, struct.pack(">I", 0x7FFFFFFF))
    after(b"elst", 12, struct.pack(">I", 0xFFFFFFFF))
    after(b"avc1", 28, struct.pack(">HH", 65535, 65535))
    assert asker.good() == asker.answer


def box(kind, body):
    return struct.pack(">I", 8 + len(body)) + kind + body


def test_a_compressed_index(asker):
    """A QuickTime index that unfolds to 2 GiB out of 2 MiB."""
    small = zlib.compress(bytes(1 << 20), 9) * 16
    for length in (1 << 24, 0x7FFFFFFF, 0xFFFFFFFF):
        packed = box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", struct.pack(">I", length) + small))
        movie = box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"mdat", bytes(64)) + box(b"moov", packed)
        for kind in ("video", "audio"):
            asker.refuses(kind, movie, "unsupported", match="compressed index", seconds=5)


def test_a_frame_rate_of_zero(asker):
    avi = (GOLDEN / "videos" / "steady.avi").read_bytes()
    strh, avih = avi.index(b"strh") + 8, avi.index(b"avih") + 8
    for scale, rate in ((0, 0), (1, 0), (0, 1), (0xFFFFFFFF, 1), (1, 0xFFFFFFFF)):
        asker.survives("video", patched(patched(avi, strh + 20, struct.pack("<II", scale, rate)), avih, bytes(4)))
    mkv = (GOLDEN / "videos" / "steady.mkv").read_bytes()
    at = mkv.find(b"\x23\xe3\x83")  # DefaultDuration
    if at >= 0:
        asker.survives("video", patched(mkv, at + 4, bytes(3)))
    frames = np.stack([picture(48, 64, k) for k in range(4)])
    assert asker.ask("video", {"frames": frames, "fps": 0}) == asker.ask("video", {"frames": frames})  # not known
    for fps in (-1.0, float("nan"), float("inf")):
        asker.refuses("video", {"frames": frames, "fps": fps}, "invalid_argument", match="frames per second")
    asker.refuses("video", {"frames": frames, "fps": 1e-300}, "invalid_argument")
    for times in ([0.0], [0, 1, 2, float("nan")], [0, 1, 2, -3]):
        asker.refuses("video", {"frames": frames, "timestamps": times}, "invalid_argument", match="time")


def test_files_without_the_stream_that_is_wanted(asker):
    for name in ("tone.m4a", "tone.webm", "tone.mp3"):
        asker.refuses("video", (GOLDEN / "sounds" / name).read_bytes(), "corrupt_data", "unsupported")
    asker.refuses("audio", (GOLDEN / "videos" / "steady.mp4").read_bytes(), "corrupt_data", "unsupported")
    asker.refuses("video", wav(GOOD_SOUND), "corrupt_data", "unsupported")
    asker.refuses("audio", png(GOOD_IMAGE), "corrupt_data", "unsupported")
    asker.refuses("image", wav(GOOD_SOUND), "corrupt_data")
    asker.refuses("image", (GOLDEN / "videos" / "steady.mp4").read_bytes(), "corrupt_data", "unsupported")


def test_videos_without_frames_or_pixels(asker):
    for shape in ((0, 4, 4, 3), (2, 0, 4, 3), (2, 4, 0, 3)):
        asker.refuses("video", np.zeros(shape, np.uint8))
    asker.refuses("video", np.zeros((2, 1, 300, 3), np.uint8), "invalid_argument")


# --- where media come from

def test_other_places_are_not_asked(asker, tmp_path):
    for where in ("file:///etc/passwd", "http://127.0.0.1:9/x.png", "concat:/etc/passwd", "/nowhere/x.png",
                  str(tmp_path), "/dev/zero", "x\0y.png"):
        with pytest.raises((onnuri.Error, ValueError)) as caught:
            asker.ask("image", where)
        assert getattr(caught.value, "code", "invalid_argument") in CODES
    assert asker.good() == asker.answer


# --- every family that sees

EYES = sorted(str(p.parent.relative_to(GOLDEN)) for room in ("grid", "vision", "abstractor")
              for p in (GOLDEN / room).glob("*/preprocessor_config.json"))


@pytest.mark.parametrize("folder", EYES)
def test_thin_pictures_of_every_family(folder):
    engine = onnuri.Engine(GOLDEN / folder, compute_dtype="float32", num_threads=1)
    good = engine.encode_image(GOOD_IMAGE)
    for shape in ((1, 1), (1, 3), (7, 1), (1, 200), (200, 1)):
        found = engine.encode_image(picture(*shape, 6))
        assert found.shape[0] > 0 and np.isfinite(found).all(), shape
    for shape in ((1, 201), (201, 1), (2, 3000), (3000, 2)):
        if folder == "vision/siglip2":  # its pictures become patches of any grid, as thin as they are
            assert engine.encode_image(picture(*shape, 7)).shape == good.shape
            continue
        with pytest.raises(onnuri.Error) as caught:
            engine.encode_image(picture(*shape, 7))
        assert caught.value.code == "invalid_argument", shape
    with pytest.raises(onnuri.Error):
        engine.encode_image(np.zeros((0, 5, 3), np.uint8))
    assert np.array_equal(engine.encode_image(GOOD_IMAGE), good)
