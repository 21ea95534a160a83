"""Small videos in every accepted container: frame k is grey level 20 + 5 k, its top left quarter red
(grey in the GIF).

    pip install av numpy; python tests/golden/make_video_files.py     (PyAV 18)

Writes tests/golden/videos/*, 40 frames of 64 x 48. steady.* run at 10 frames per second; in
uneven.mp4 frame k stands at (k * k) / 100 seconds. heard.mp4 is steady.mp4 with three seconds of a
tone of 440 Hz, 22,050 samples a second on two channels.
"""

import pathlib
from fractions import Fraction

import av
import numpy as np

OUT = pathlib.Path(__file__).parent / "videos"
RATE = 22050
FILES = {  # name: container, codec, pixel format, options
    "steady.mp4": ("mp4", "libx264", "yuv420p", {"g": "10", "bf": "2", "crf": "12"}),
    "uneven.mp4": ("mp4", "libx264", "yuv420p", {"g": "10", "bf": "2", "crf": "12"}),
    "heard.mp4": ("mp4", "libx264", "yuv420p", {"g": "10", "bf": "2", "crf": "12"}),
    "steady.mov": ("mov", "mpeg4", "yuv420p", {"g": "12", "qscale": "2"}),
    "steady.webm": ("webm", "libvpx-vp9", "yuv420p", {"g": "15", "crf": "12", "b": "0"}),
    "steady.mkv": ("matroska", "libx264", "yuv420p", {"g": "40", "crf": "12"}),
    "steady.avi": ("avi", "mpeg4", "yuv420p", {"g": "8", "qscale": "2"}),
    "steady.gif": ("gif", "gif", "gray", {}),
}


def picture(k):
    rgb = np.full((48, 64, 3), 20 + 5 * k, dtype=np.uint8)
    rgb[:24, :32] = (220, 20, 20)
    return rgb


def tone(start, count):
    wave = 0.5 * np.sin(2 * np.pi * 440 / RATE * np.arange(start, start + count))
    frame = av.AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (2, 1)), "fltp", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
    return frame


def main():
    OUT.mkdir(exist_ok=True)
    for name, (container, codec, form, options) in FILES.items():
        with av.open(str(OUT / name), "w", format=container) as out:
            stream = out.add_stream(codec, rate=10, options=options)
            stream.width, stream.height, stream.pix_fmt = 64, 48, form
            base = Fraction(1, 100) if name.startswith("uneven") else Fraction(1, 10)
            stream.codec_context.time_base = base
            sound = out.add_stream("aac", rate=RATE, layout="stereo") if name == "heard.mp4" else None
            for k in range(40):
                frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24").reformat(format=form)
                frame.time_base = base
                frame.pts = k * k if name.startswith("uneven") else k
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
            for start in range(0, 3 * RATE if sound else 0, 1024):
                out.mux(sound.encode(tone(start, min(1024, 3 * RATE - start))))
            if sound:
                out.mux(sound.encode(None))
        print(name, (OUT / name).stat().st_size)


if __name__ == "__main__":
    main()
