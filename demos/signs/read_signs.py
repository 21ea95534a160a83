"""Reads the signs in photos: read_signs.py [--json] [--min-confidence X] PHOTO...

The reader is RapidOCR (packaged PP-OCR weights, run in Python): a stand-in for a vision-language
model where none can be had. `onnuri describe MODEL PHOTO` asks a real one.
"""

import sys

from onnuri.signs import main

if __name__ == "__main__":
    sys.exit(main())
