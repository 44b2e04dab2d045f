"""What a file is, by its first bytes; what it is called makes no difference."""

import re
from typing import NamedTuple

HEAD = 264
"""How many bytes are looked at: enough for what tar archives and DICOM files have inside."""

ARRAY = b"\x93NUMPY"
EMPTY = "an empty file (0 bytes)"


class Mark(NamedTuple):
    """Bytes that files of a kind have at a place."""

    place: int
    text: bytes
    kind: str


# The signatures are those of the formats' own specifications; https://en.wikipedia.org/wiki/List_of_file_signatures.
PICTURES = (
    Mark(0, b"\xff\xd8\xff", "JPEG"),
    Mark(0, b"\x89PNG\r\n\x1a\n", "PNG"),
    Mark(8, b"WEBP", "WebP"),
    Mark(0, b"GIF8", "GIF"),
    Mark(0, b"II*\0", "TIFF"),
    Mark(0, b"MM\0*", "TIFF"),
    Mark(0, b"II+\0", "TIFF"),
    Mark(0, b"MM\0+", "TIFF"),
    Mark(0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    Mark(0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    Mark(0, ARRAY, "array"),
)
OTHERS = (
    Mark(0, b"\xff\x0a", "a JPEG XL picture"),
    Mark(4, b"JXL ", "a JPEG XL picture"),
    Mark(0, b"8BPS", "a Photoshop picture"),
    Mark(0, b"v/1\x01", "an OpenEXR picture"),
    Mark(128, b"DICM", "a DICOM file"),
    Mark(0, b"%!PS", "a PostScript file"),
    Mark(0, b"%PDF", "a PDF file"),
    Mark(0, b"PK\x03\x04", "a zip archive (.npz files are such)"),
    Mark(0, b"\x1f\x8b", "a gzip file (.nii.gz files are such)"),
    Mark(257, b"ustar", "a tar archive"),
    Mark(0, b"\x89HDF", "an HDF5 file"),
    Mark(0, b"PAR1", "a Parquet table"),
    Mark(0, b"\x1aE\xdf\xa3", "a film"),
    Mark(4, b"ftyp", "a film"),
)
BRANDS = {b"avif": "AVIF", b"avis": "AVIF"}
HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
NETPBM = re.compile(rb"P[1-6][\s#]")
BITMAP_RESERVED = slice(6, 10)


def picture_kind(head: bytes) -> str | None:
    """The format of a picture or an array of numbers that begins so; None for anything else."""
    if found := next((mark.kind for mark in PICTURES if head.startswith(mark.text, mark.place)), None):
        return found
    if head[4:8] == b"ftyp":  # the brands stand one after another: the file's own, a version, those it is, too
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(head[3], len(head)), 4))]
        return next((BRANDS[brand] for brand in brands if brand in BRANDS), None)
    if head.startswith(b"BM") and head[BITMAP_RESERVED] == bytes(4):
        return "BMP"
    return "PPM" if NETPBM.match(head) else None


def what_is(head: bytes) -> str:
    """A file that begins so, in words."""
    if not head:
        return EMPTY
    if kind := picture_kind(head):
        return f"{'an' if kind[0] in 'Aa' else 'a'} {kind if kind == 'array' else f'{kind} picture'}"
    if head[4:8] == b"ftyp" and head[8:12] in HEIC:
        return "a HEIC picture"
    if found := next((mark.kind for mark in OTHERS if head.startswith(mark.text, mark.place)), None):
        return found
    return _text(head) or "a file of another kind"


def _text(head: bytes) -> str | None:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(head) < HEAD or error.start < HEAD - 3:  # else a letter was cut where the head ends
            return None
        text = head[: error.start].decode("utf-8")
    if "\0" in text:
        return None
    start = text.lstrip("\ufeff \t\r\n")[:200].lower()
    if "<svg" in start:
        return "an SVG drawing"
    return "a web page" if start.startswith(("<!doctype html", "<html")) else "a text file"
