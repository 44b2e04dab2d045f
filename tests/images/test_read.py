"""The one reader of every command: what a file is by its contents, which values are white, and what is said."""

import io
import pickle
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from vitzoo.errors import ImageError, SpecError
from vitzoo.images.contents import picture_kind, what_is
from vitzoo.images.load import FORMATS
from vitzoo.images.ranges import Form, Pixels
from vitzoo.images.read import read_picture
from vitzoo.images.transform import preprocess
from vitzoo.spec import Preprocessing, ViTSpec

COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
RANDOM = np.random.default_rng(0)


def png_of_16_bits(values: Pixels) -> bytes:
    """(height, width, channels), uint16; Pillow writes none of colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, COLOURS[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def written(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def array(values: Pixels) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def read(data: bytes, *form: object) -> tuple[Pixels, list[str]]:
    found = read_picture(io.BytesIO(data), Form(*form), "x")
    return np.asarray(found.picture), [note.text for note in found.notes]


# What a file is.


@pytest.mark.parametrize("kind", [k for k in FORMATS if k != "DIB" and (k != "AVIF" or features.check("avif"))])
def test_all_formats_that_are_read_are_known_by_their_bytes(kind: str) -> None:
    data = written(Image.new("RGB", (20, 20), "red"), kind)
    assert picture_kind(data[:264]) is not None
    assert read(data)[0].shape == (20, 20, 3)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "an empty file (0 bytes)"),
        (b"hello\n", "a text file"),
        ("ä".encode() * 132, "a text file"),
        (b"x" + "ä".encode() * 131 + "ä".encode()[:1], "a text file"),
        (b" <!DOCTYPE HTML><p>not found", "a web page"),
        (b'<?xml version="1.0"?><svg xmlns="">', "an SVG drawing"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "an AVIF picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a film"),
        (bytes(128) + b"DICM", "a DICOM file"),
        (b"BM of this page", "a text file"),
        (b"P5 is a format", "a PPM picture"),
        (array(np.zeros((2, 2)))[:264], "an array"),
        (b"\x7fELF\x02\xff", "a file of another kind"),
        (b"abc\xff", "a file of another kind"),
    ],
)
def test_what_a_file_is(head: bytes, kind: str) -> None:
    assert what_is(head) == kind


@given(st.binary(max_size=300))
def test_anything_is_something(head: bytes) -> None:
    assert what_is(head)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found an empty file (0 bytes)"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "found a HEIC picture of a sort that is not read; save it as PNG"),
        (b"II*\0\x08\0\0\0" + bytes(20), "found a TIFF picture of a sort that is not read"),
        (b"<html>", "found a web page; check that it is whole and is a picture"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as error:
        read(data)
    assert message in str(error.value)


# Which values are black and white.


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_12_bits_in_16_are_scaled_from_white(channels: int) -> None:
    values = RANDOM.integers(0, 4096, (9, 7, channels), dtype=np.uint16)
    expected = np.floor(values * (255 / 4095) + 0.5).astype(np.uint8)
    if channels == 2:  # Pillow has no way to the lower bytes of these
        with pytest.raises(ImageError, match="unknown raw mode"):
            read(png_of_16_bits(values), 3, 4095.0)
    else:
        assert np.array_equal(read(png_of_16_bits(values), channels, 4095.0)[0].reshape(values.shape), expected)
    dark, notes = read(png_of_16_bits(values), 3)
    assert dark.max() < 17
    assert "of 16 bits taken as 0..65535" in notes


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_tiff_with_a_range(dtype: type, compression: str) -> None:
    values = (RANDOM.random((9, 7)) * 800).astype(dtype)
    data = written(Image.fromarray(values), "TIFF", compression=compression)
    found = read(data, 1, 800.0)[0].reshape(9, 7)
    assert np.allclose(found * (1 if found.dtype == np.uint8 else 255), values * (255 / 800), atol=0.51)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_black_below_zero(dtype: type) -> None:
    values = RANDOM.integers(-1000, 3001, (9, 7, 5)).astype(dtype)
    values[0, 0, :2] = -1000, 3000
    found, notes = read(array(values), 5, 3000.0, -1000.0)
    assert np.allclose(found, (values.astype(float) + 1000) / 4000, atol=1e-6)
    assert not notes
    with pytest.raises(ImageError, match="black=-1000 and white=3000, or more"):
        read(array(values), 5, 2000.0)


def test_integers_ask_which_value_is_white_and_the_answer_works() -> None:
    values = array(np.full((4, 4), 300, np.int32))
    with pytest.raises(ImageError, match=r"found int32 in 300\.\.300; say which value is white: white=300"):
        read(values, 1)
    assert read(values, 1, 300.0)[0].min() == 1.0


def test_8_bits_are_8_bits_whatever_is_white() -> None:
    values = RANDOM.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(read(written(Image.fromarray(values), "PNG"), 3, 4095.0)[0], values)
    assert np.array_equal(read(array(values), 3, 4095.0)[0], values)


def test_white_is_the_models(tmp_path: Path) -> None:
    shape = {"patch_size": 1, "hidden_dim": 8, "depth": 1, "num_heads": 1, "mlp_dim": 8}
    spec = ViTSpec.model_validate({**shape, "img_size": (4, 4), "in_chans": 1})
    np.save(tmp_path / "x.npy", np.full((4, 4), 1000, np.uint16))
    transform = preprocess(SimpleNamespace(spec=spec, preprocessing=Preprocessing(mean=(0,), std=(1,), white=2000)))
    assert transform(tmp_path / "x.npy").unique().tolist() == [0.5]
    assert transform(np.full((4, 4), 1000, np.uint16)).unique().tolist() == [0.5]
    read = read_picture(tmp_path / "x.npy", transform.form)
    assert transform(read.picture).unique().tolist() == [0.5]  # not divided by white twice
    assert transform(pickle.loads(pickle.dumps(read.picture))).unique().tolist() == [0.5]
    for wrong in ({"white": 5, "black": 5}, {"black": 1}, {"white": float("nan")}):
        with pytest.raises((SpecError, ValueError)):
            Preprocessing(**wrong)


# More in a file than is read.


def animated(kind: str, count: int = 4, mode: str = "L") -> bytes:
    frames = [Image.new(mode, (8, 8), i * 60 if mode == "L" else (i * 60, 0, 0)) for i in range(count)]
    return written(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_more_than_one_frame_is_said(kind: str) -> None:
    _, notes = read(animated(kind, mode="RGB"))
    assert notes == [f"with more than one {'page' if kind == 'TIFF' else 'frame'}, of which the first is read"]


def test_a_page_for_each_channel() -> None:
    pixels, notes = read(animated("TIFF"), 4)
    assert pixels[0, 0].tolist() == [0, 60, 120, 180]
    assert notes == ["with 4 pages, which are taken as channels"]
    with pytest.raises(ImageError, match="expected 5 channels, found 1"):
        read(animated("TIFF"), 5)


def test_transparency_is_said_where_it_hides_something() -> None:
    clear = Image.new("RGBA", (8, 8), (1, 2, 3, 0))
    assert read(written(clear, "PNG"))[1] == ["with transparency, which is left out"]
    clear.putalpha(255)
    assert read(written(clear, "PNG"))[1] == []
    assert read(written(clear, "PNG"), 4)[0].shape == (8, 8, 4)


@pytest.mark.parametrize("in_chans", [1, 3, 4, 5])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_arrays_of_any_channels(dtype: type, channels: int, in_chans: int) -> None:
    values = array((RANDOM.random((8, 9, channels)) * (255 if dtype is np.uint8 else 1)).astype(dtype))
    if channels != in_chans and (channels > 3 or in_chans > 3):
        with pytest.raises(ImageError, match=f"expected {in_chans} channels, found {channels}.*in_chans={channels}"):
            read(values, in_chans)
        return
    pixels, notes = read(values, in_chans)
    assert pixels.reshape(8, 9, -1).shape[2] == in_chans
    assert notes == []


def tiff_of_bands(bands: int) -> bytes:
    """A 2x2 TIFF of RGB and more bands that have no meaning (ExtraSamples 0), all 8 bit; Pillow writes none."""
    short, long = 3, 4
    pixels = bytes(range(4 * bands))
    extra = bands - 3
    tags = [(256, short, [2]), (257, short, [2]), (258, short, [8] * bands), (259, short, [1]), (262, short, [2])]
    tags += [(273, long, [8]), (277, short, [bands]), (278, short, [2]), (279, long, [len(pixels)])]
    tags += [(338, short, [0] * extra)]
    start = 8 + len(pixels)
    after, entries, more = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == short else 'I'}", *values)
        if len(packed) > 4:
            packed, more = struct.pack("<I", after + len(more)), more + packed
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", start) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4) + more


def test_bands_of_tiff_that_are_not_read_are_said() -> None:
    pixels, notes = read(tiff_of_bands(5))
    assert pixels[0].tolist() == [[0, 1, 2], [5, 6, 7]]
    assert notes == ["with 5 bands, of which 3 are read"]
    with pytest.raises(ImageError, match="expected 5 channels, found 3"):
        read(tiff_of_bands(5), 5)
    with pytest.raises(ImageError, match="found a TIFF picture of a sort that is not read"):
        read(tiff_of_bands(9), 9)


def test_a_preview_of_a_raw_file_is_no_picture() -> None:
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    with pytest.raises(ImageError, match="a preview of another picture, as in raw files of cameras"):
        read(written(Image.new("RGB", (8, 8)), "TIFF", tiffinfo=tags))
