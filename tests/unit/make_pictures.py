"""Makes pictures.h, the small picture files of test_image.c:  python3 make_pictures.py > pictures.h   (needs Pillow)

Lossless files show pixel (x, y) of a picture 21 wide and 13 high as PATTERN: R = 12x, G = 19y, B = 7x + 9y, on 8 bits.
JPEG files are 32 x 16 with four quarters: red, green over blue, white.
"""
import io
import struct
import zlib
from PIL import Image

W, H = 21, 13


def pattern(x, y):
    return (12 * x & 255, 19 * y & 255, 7 * x + 9 * y & 255)


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def pack(samples, depth):
    if depth == 16:
        return b"".join(struct.pack(">H", s) for s in samples)
    out, bits, n = bytearray(), 0, 0
    for s in samples:
        bits, n = bits << depth | s, n + depth
        if n == 8:
            out.append(bits)
            bits, n = 0, 0
    if n:
        out.append(bits << 8 - n)
    return bytes(out)


def png(kind, depth, pixel, interlaced=False, before=b"", after=b"", width=W, height=H):
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x0, y0, dx, dy in passes:
        for i, y in enumerate(range(y0, height, dy)):
            row = [s for x in range(x0, width, dx) for s in pixel(x, y)]
            if row:
                row = pack(row, depth)
                step = max(1, depth * len(pixel(0, 0)) // 8)
                if i % 2 and depth >= 8:  # filter 1, Sub
                    raw += b"\1" + bytes((row[k] - (row[k - step] if k >= step else 0)) & 255 for k in range(len(row)))
                else:
                    raw += b"\0" + row
    packed = zlib.compress(raw, 9)
    half = len(packed) // 2
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)) + before +
            chunk(b"IDAT", packed[:half]) + chunk(b"IDAT", packed[half:]) + after + chunk(b"IEND", b""))


def tiff(orientation, big):
    e = ">" if big else "<"
    return ((b"MM" if big else b"II") + struct.pack(e + "HI", 42, 8) + struct.pack(e + "H", 2) +
            struct.pack(e + "HHII", 0x010f, 2, 4, 0x41424300) + struct.pack(e + "HHIHH", 0x0112, 3, 1, orientation, 0) +
            struct.pack(e + "I", 0))


def quarters(mode="RGB"):
    im = Image.new("RGB", (32, 16))
    for x in range(32):
        for y in range(16):
            im.putpixel((x, y), [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]][y // 8][x // 16])
    return im.convert(mode)


def saved(im, kind, **more):
    out = io.BytesIO()
    im.save(out, kind, **more)
    return out.getvalue()


def main():
    rgb = Image.new("RGB", (W, H))
    rgb.putdata([pattern(x, y) for y in range(H) for x in range(W)])
    indices = Image.new("P", (W, H))
    indices.putpalette([v for i in range(16) for v in pattern(i, 0)])
    indices.putdata([x % 16 for y in range(H) for x in range(W)])
    plte = chunk(b"PLTE", bytes(v for i in range(16) for v in pattern(i, 0)))
    exif = b"Exif\0\0" + tiff(1, False)
    files = {
        "png_rgb8": png(2, 8, pattern),
        "png_rgb8_interlaced": png(2, 8, pattern, True),
        "png_rgb16": png(2, 16, lambda x, y: tuple(v << 8 | 0x9c for v in pattern(x, y))),
        "png_rgba8": png(6, 8, lambda x, y: pattern(x, y) + (5 * x,)),
        "png_rgba16_interlaced": png(6, 16, lambda x, y: tuple(v << 8 | 0x9c for v in pattern(x, y)) + (77,), True),
        "png_gray8": png(0, 8, lambda x, y: pattern(x, y)[:1]),
        "png_gray1": png(0, 1, lambda x, y: (x + y & 1,)),
        "png_gray4_interlaced": png(0, 4, lambda x, y: (x % 16,), True),
        "png_graya8": png(4, 8, lambda x, y: (pattern(x, y)[0], 9)),
        "png_graya16": png(4, 16, lambda x, y: (pattern(x, y)[0] << 8 | 200, 9)),
        "png_palette4": png(3, 4, lambda x, y: (x % 16,), before=plte),
        "png_palette8_interlaced": png(3, 8, lambda x, y: (x % 16,), True, before=plte),
        "png_palette_past_end": png(3, 8, lambda x, y: (x % 16 + 8,), before=plte),
        "png_exif6": png(2, 8, pattern, before=chunk(b"eXIf", tiff(6, True))),
        "bmp_rgb": saved(rgb, "BMP"),
        "bmp_palette": saved(indices, "BMP"),
        "tga_rgb": saved(rgb, "TGA"),
        "tga_rgb_rle": saved(rgb, "TGA", compression="tga_rle"),
        "tga_palette": saved(indices, "TGA"),
        "gif_palette": saved(indices, "GIF"),
        "ppm_rgb": saved(rgb, "PPM"),
        "jpeg_exif": saved(quarters(), "JPEG", quality=95, exif=exif, subsampling=0),
        "jpeg_exif_big": saved(quarters(), "JPEG", quality=95, exif=b"Exif\0\0" + tiff(1, True), subsampling=0),
        "jpeg_420": saved(quarters(), "JPEG", quality=95, subsampling=2),
        "jpeg_progressive": saved(quarters(), "JPEG", quality=95, progressive=True, subsampling=0),
        "jpeg_gray": saved(quarters("L"), "JPEG", quality=95),
        "jpeg_cmyk": saved(quarters("CMYK"), "JPEG", quality=95, subsampling=0),
        "jpeg_restart": saved(quarters(), "JPEG", quality=95, subsampling=0, restart_marker_blocks=1),
    }
    print("/* Made by make_pictures.py. */\n/* clang-format off */")
    for name, data in files.items():
        print("static const unsigned char %s[] = {" % name)
        for i in range(0, len(data), 24):
            print("    " + ",".join(str(b) for b in data[i:i + 24]) + ",")
        print("};")


main()
