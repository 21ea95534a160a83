"""Small sound files in every accepted container: one second of a 440 Hz tone at half loudness.

    pip install av numpy; python tests/golden/make_sound_files.py     (PyAV 15 to 17)

Writes tests/golden/sounds/tone.*; left and right are equal in the stereo ones.
"""

import pathlib

import av
import numpy as np

OUT = pathlib.Path(__file__).parent / "sounds"
FILES = {  # name: container, codec, rate, layout, sample format
    "tone.mp3": ("mp3", "libmp3lame", 44100, "stereo", "fltp"),
    "tone.flac": ("flac", "flac", 48000, "stereo", "s16"),
    "tone.ogg": ("ogg", "vorbis", 44100, "stereo", "fltp"),
    "tone.opus": ("ogg", "libopus", 48000, "mono", "flt"),
    "tone.m4a": ("ipod", "aac", 44100, "stereo", "fltp"),
    "tone.aac": ("adts", "aac", 44100, "stereo", "fltp"),
    "tone.webm": ("webm", "libopus", 48000, "stereo", "flt"),
    "tone.amr": ("amr", "libopencore_amrnb", 8000, "mono", "s16"),
}


def main():
    OUT.mkdir(exist_ok=True)
    for name, (container, codec, rate, layout, form) in FILES.items():
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
        channels = 2 if layout == "stereo" else 1
        with av.open(str(OUT / name), "w", format=container) as output:
            stream = output.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = 12200 if codec == "libopencore_amrnb" else 48000
            stream.options = {"strict": "experimental"}
            frame = av.AudioFrame.from_ndarray(
                np.tile(tone.astype(np.float32), (channels, 1)), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            resampler = av.AudioResampler(format=form, layout=layout, rate=rate,
                                          frame_size=stream.codec_context.frame_size or 4096)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                output.mux(stream.encode(part))
            output.mux(stream.encode(None))


if __name__ == "__main__":
    main()
