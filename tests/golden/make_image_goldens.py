#!/usr/bin/env python3
"""Small pictures in many codings with the pixels that Pillow reads, and Pillow's resizing.

Made with Pillow (its version stands in the file's metadata) and, for HEIC, pillow-heif 1.8.1; what
Pillow cannot write (PNG of 16 bits per colour, interlaced PNG) is written here. Writes
images.safetensors:
  file.<name> (bytes)            a picture file
  rgb.<name> (h, w, 3)           decoded, orientation applied, alpha composited on white
  resized.<filter>.<k> (h, w, 3) noise_image(43, 61, 77) resized to SIZES[k]
  smart_resize (n, 7)            variant, height, width, min, max, height', width'

usage: make_image_goldens.py [output file]
"""

import io
import math
import random
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL
import pillow_heif
from PIL import Image, ImageDraw, ImageOps
from safetensors.numpy import save_file

from make_vision_goldens import noise_image

SIZES = [(43, 30), (20, 61), (17, 23), (90, 100), (1, 1), (44, 62), (5, 200),
         (11, 46), (10, 44), (11, 45), (42, 60), (3, 42)]
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def picture(width=45, height=31):
    """A ramp with coloured shapes: smooth parts and hard edges."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 3 % 256], -1)
    image = Image.fromarray(rgb.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse([6, 5, 20, 19], fill=(220, 30, 40))
    draw.rectangle([26, 12, 40, 26], fill=(20, 60, 200))
    draw.line([2, 28, 43, 3], fill=(255, 255, 0))
    return image


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def png_rows(samples):
    """Rows (h, w, c) of big-endian samples with the filter byte of each."""
    return b"".join(b"\0" + row.tobytes() for row in samples)


def png(samples, color, interlaced=False, extra=()):
    """A PNG of 8 or 16 bits per sample, straight from the format's description."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    deep = samples.dtype.itemsize == 2
    samples = samples.astype(">u2") if deep else samples
    height, width = samples.shape[:2]
    if interlaced:  # Adam7: first row, first column, steps
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        rows = b"".join(png_rows(samples[y::dy, x::dx]) for y, x, dy, dx in passes)
    else:
        rows = png_rows(samples)
    head = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, color, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunk(*e) for e in extra)
            + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def deep(image):
    """Sixteen bits per sample, with something in the lower eight."""
    levels = np.atleast_3d(np.asarray(image)).astype(np.uint16)
    return levels * 256 + (levels * 7 + 100) % 256


def more_files(rgb, rgba):
    small = rgb.crop((4, 4, 31, 27))
    clear = small.convert("RGBA")
    clear.putalpha(Image.fromarray((np.mgrid[0:23, 0:27][0] * 255 // 22).astype(np.uint8)))
    palette = small.quantize(16)
    colors = bytes(palette.getpalette()[:48])
    indices = np.asarray(palette)[..., None]
    out = {
        "png_16_gray": png(deep(small.convert("L")), 0),
        "png_16_rgb": png(deep(small), 2),
        "png_16_rgba": png(deep(clear), 6),
        "png_16_gray_alpha": png(deep(clear.convert("LA")), 4),
        "png_16_interlaced": png(deep(small), 2, interlaced=True),
        "png_interlaced": png(np.asarray(small), 2, interlaced=True),
        "png_interlaced_palette": png(indices, 3, True, [(b"PLTE", colors)]),
        "png_palette_alpha": png(indices, 3, False, [(b"PLTE", colors), (b"tRNS", bytes(range(0, 255, 17)))]),
        "png_rgb_clear": png(np.asarray(small), 2, False, [(b"tRNS", struct.pack(">HHH", 220, 30, 40))]),
        "webp_lossy_alpha": encoded(clear, "WEBP", quality=95),
        "webp_exif_8": encoded(small, "WEBP", lossless=True, exif=exif(8)),
        "tiff_deflate": encoded(small, "TIFF", compression="tiff_adobe_deflate"),
        "tiff_rgba": encoded(clear, "TIFF"),
        "tiff_palette": encoded(palette, "TIFF"),
        "bmp_gray": encoded(small.convert("L"), "BMP"),
        "jpeg_cmyk_progressive": encoded(small.convert("CMYK"), "JPEG", quality=95, progressive=True),
        "heic": encoded(small, "HEIF", quality=98, chroma=444),
        "heic_420": encoded(rgb, "HEIF", quality=95, chroma=420),
        "heic_lossless": encoded(small, "HEIF", quality=-1, chroma=444, matrix_coefficients=0),
        "heic_exif_6": encoded(small, "HEIF", quality=98, chroma=444, exif=exif(6)),
    }
    return out


def files():
    rgb = picture()
    alpha = Image.fromarray(
        (np.mgrid[0:31, 0:45][1] * 255 // 44).astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    out = {
        "jpeg_420": encoded(rgb, "JPEG", quality=92, subsampling=2),
        "jpeg_422": encoded(rgb, "JPEG", quality=92, subsampling=1),
        "jpeg_444": encoded(rgb, "JPEG", quality=92, subsampling=0),
        "jpeg_progressive": encoded(rgb, "JPEG", quality=85, progressive=True),
        "jpeg_gray": encoded(rgb.convert("L"), "JPEG", quality=90),
        "jpeg_cmyk": encoded(rgb.convert("CMYK"), "JPEG", quality=95),
        "jpeg_1x1": encoded(rgb.crop((8, 8, 9, 9)), "JPEG"),
        "jpeg_1xn": encoded(rgb.crop((8, 0, 9, 31)), "JPEG", quality=95),
        "png_rgb": encoded(rgb, "PNG"),
        "png_rgba": encoded(rgba, "PNG"),
        "png_gray": encoded(rgb.convert("L"), "PNG"),
        "png_gray_alpha": encoded(rgba.convert("LA"), "PNG"),
        "png_palette": encoded(rgb.quantize(32), "PNG"),
        "png_palette_clear": encoded(rgb.quantize(32), "PNG", transparency=3),
        "png_bit": encoded(rgb.convert("1"), "PNG"),
        "png_exif_6": encoded(rgb, "PNG", exif=exif(6)),
        "gif": encoded(rgb.quantize(64), "GIF"),
        "gif_animated": encoded(rgb.quantize(64), "GIF", save_all=True,
                                append_images=[rgb.transpose(Image.FLIP_LEFT_RIGHT).quantize(64)]),
        "bmp": encoded(rgb, "BMP"),
        "bmp_palette": encoded(rgb.quantize(16), "BMP"),
        "tiff": encoded(rgb, "TIFF"),
        "tiff_lzw": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "tiff_gray": encoded(rgb.convert("L"), "TIFF"),
        "webp_lossless": encoded(rgba, "WEBP", lossless=True, exact=True),
        "webp_lossy": encoded(rgb, "WEBP", quality=95),
        "avif": encoded(rgb, "AVIF", quality=98, subsampling="4:4:4"),
    }
    for orientation in range(1, 9):
        out[f"jpeg_exif_{orientation}"] = encoded(rgb, "JPEG", quality=95, subsampling=0,
                                                  exif=exif(orientation))
    return out | more_files(rgb, rgba)


def pixels(data, name=""):
    if name == "png_16_gray":  # Pillow cuts off at 255, which leaves white: the upper eight bits instead
        levels = np.asarray(Image.open(io.BytesIO(data))) >> 8
        return np.repeat(levels.astype(np.uint8)[..., None], 3, -1)
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def qwen_rule(h, w, factor, low, high):
    hb, wb = round(h / factor) * factor, round(w / factor) * factor
    if hb * wb > high:
        beta = math.sqrt(h * w / high)
        hb = max(factor, math.floor(h / beta / factor) * factor)
        wb = max(factor, math.floor(w / beta / factor) * factor)
    elif hb * wb < low:
        beta = math.sqrt(low / (h * w))
        hb, wb = math.ceil(h * beta / factor) * factor, math.ceil(w * beta / factor) * factor
    return hb, wb


def paddle_rule(h, w, factor, low, high):
    if h < factor:
        h, w = factor, round(w * factor / h)
    if w < factor:
        h, w = round(h * factor / w), factor
    return qwen_rule(h, w, factor, low, high)


def smart_resize_rows():
    chance = random.Random(5)
    rows = []
    ranges = [(3136, 12845056), (147384, 2822400), (3136, 2073600), (10000, 50000)]
    sides = [1, 2, 13, 14, 15, 28, 42, 70, 98, 126, 480, 640, 1080, 1920, 2048, 4096]
    sizes = [(h, w) for h in sides for w in sides]
    sizes += [(chance.randint(1, 3000), chance.randint(1, 3000)) for _ in range(200)]
    for h, w in sizes:
        if max(h, w) / min(h, w) > 200:
            continue
        low, high = chance.choice(ranges)
        for variant, rule in enumerate([qwen_rule, paddle_rule]):
            hb, wb = rule(h, w, 28, low, high)
            rows.append([variant, h, w, low, high, hb, wb])
    return np.array(rows, dtype=np.int32)


def main():
    default = Path(__file__).parent / "images.safetensors"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    tensors = {}
    pillow_heif.register_heif_opener()
    for name, data in files().items():
        tensors[f"file.{name}"] = np.frombuffer(data, dtype=np.uint8)
        tensors[f"rgb.{name}"] = pixels(data, name)
    noise = Image.fromarray(noise_image(43, 61, 77))
    for name, code in FILTERS.items():
        for k, (height, width) in enumerate(SIZES):
            tensors[f"resized.{name}.{k}"] = np.asarray(noise.resize((width, height), code))
    tensors["smart_resize"] = smart_resize_rows()
    save_file(tensors, path, metadata={"pillow": PIL.__version__})
    path.chmod(0o644)


if __name__ == "__main__":
    main()
