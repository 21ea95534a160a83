"""Reads the text in photos with RapidOCR: the named stand-in for a vision-language model.

Run by `onnuri describe rapidocr PHOTO...` and by demos/signs/read_signs.py. It runs the packaged
PP-OCR weights in Python, not Onnuri's engine, and says so; a PaddleOCR-VL, Qwen2.5-VL or similar
checkpoint takes its place in the same command wherever one is at hand.
"""

import argparse
import json
import pathlib
import sys
import time

READER = "RapidOCR (PP-OCR weights), the stand-in for a vision-language model"


class SignsError(Exception):
    """One line for people: what was expected, what was found."""


def make_reader():
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise SignsError(
            "expected the Python package rapidocr-onnxruntime (demos/signs/requirements.txt), "
            f"found none for {sys.executable}: {error}"
        ) from error
    return RapidOCR()


def load_photo(path):
    import numpy
    from PIL import Image, ImageOps

    if not pathlib.Path(path).is_file():
        raise SignsError(f"expected a picture file, found no file at '{path}'")
    try:
        with Image.open(path) as image:
            rgb = numpy.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise SignsError(f"expected a picture, found none that can be read in '{path}'") from error
    return numpy.ascontiguousarray(rgb[:, :, ::-1])  # the reader takes blue first


def read_photo(reader, path, min_confidence):
    """{"path", "width", "height", "seconds", "lines": [{"text", "confidence", "box"}]}."""
    photo = load_photo(path)
    start = time.perf_counter()
    found, _ = reader(photo)
    seconds = time.perf_counter() - start
    lines = [
        {
            "text": text,
            "confidence": round(float(confidence), 4),
            "box": [[round(float(x), 1), round(float(y), 1)] for x, y in corners],
        }
        for corners, text, confidence in found or []
        if float(confidence) >= min_confidence
    ]
    height, width = photo.shape[:2]
    return {"path": str(path), "width": width, "height": height,
            "seconds": round(seconds, 3), "lines": lines}


def show(result):
    print(f"{result['path']}: {len(result['lines'])} lines of text, {result['seconds']:.1f} s")
    for line in result["lines"]:
        x, y = line["box"][0]
        print(f"  {line['confidence']:4.2f}  ({x:4.0f},{y:5.0f})  {line['text']}")


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(prog="onnuri describe rapidocr", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", metavar="PHOTO", help="picture files")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--min-confidence", type=float, default=0.5, help="default: 0.5")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        reader = make_reader()
        results = [read_photo(reader, path, options.min_confidence) for path in options.images]
    except SignsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"reader": READER, "images": results}, ensure_ascii=False))
    else:
        print(f"read by {READER}")
        for result in results:
            show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
