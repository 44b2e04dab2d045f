"""Pictures that an enemy made: no program starts, and memory follows the pixels that are wanted."""

import io
import os
import resource
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitzoo.errors import ImageError
from vitzoo.images.load import MOST_PIXELS, load_image
from vitzoo.images.ranges import Form
from vitzoo.images.read import read_picture

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\n%%EOF\n"


def png(width: int, height: int, depth: int = 16) -> bytes:
    """Black, and so a thousandth of its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, 0, 0, 0, 0])
    packer, rows = zlib.compressobj(9), b""
    for _ in range(height):
        rows += packer.compress(bytes(1 + width * depth // 8))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows + packer.flush()) + chunk(b"IEND", b"")


@pytest.mark.proves(guarantee="No code from files", against="EPS called .png, for which Pillow starts Ghostscript")
@pytest.mark.parametrize("loader", ["picture", "bands"])
def test_no_program_is_started(tmp_path: Path, loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *a, **k: started.append(a))
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *a, **k: started.append(a))
    path = tmp_path / "x.png"
    path.write_bytes(EPS)
    Image.init()
    load = load_image if loader == "picture" else partial(read_picture, form=Form(4))
    with path.open("rb") as file, pytest.raises(ImageError):
        load(file)
    assert started == []


@pytest.mark.proves(guarantee="Bounds come before memory", against="a 16-bit PNG of 320 kB, and a larger one")
def test_a_large_picture_of_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(10_000, 10_000))  # 100 megapixels, as large cameras make them
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert load_image(path, 1).size == (10_000, 10_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 900_000  # kilobytes
    path.write_bytes(png(20_000, 20_000, 1)[:5000])
    with pytest.raises(ImageError, match=f"20000 x 20000 pixels; expected at most {MOST_PIXELS:,}|exceeds limit"):
        load_image(path)


def test_a_pipe_and_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    for path, kind in ((tmp_path / "x.png", "pipe"), (Path("/dev/zero"), "device")):
        for read in (load_image, partial(read_picture, form=Form())):
            with pytest.raises(ImageError, match=f"expected a picture file, found a {kind}; copy what it gives"):
                read(path)


def npy(shape: tuple[int, ...], content: bytes = b"", descr: str = "'|u1'") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + content


@pytest.mark.parametrize(
    "content",
    [
        npy((100_000, 100_000, 4)),
        npy((2, 2, 4), bytes(15)),
        npy((-2, -2, 4), bytes(16)),
        npy((1 << 70, 1, 4)),
        npy((2, 2, 4), bytes(16), "'|O'"),
        npy((2, 2, 4), bytes(16), "["),
        npy((2, 2, 4), bytes(16), "'<M8[s]'"),
        b"\x93NUMPY\3\0",
        b"\x93NUMPY\1\0\xff\xff",
        b"PK\3\4",
        b"\x80\x04.",
        b"",
        npy((2, 2, 4), bytes(16), "(" * 5000),
    ],
)
def test_arrays_that_lie(content: bytes) -> None:
    with pytest.raises(ImageError) as error:
        read_picture(io.BytesIO(content), Form(4), "x.npy")
    assert len(str(error.value)) < 500


def test_an_archive_of_arrays_is_no_picture() -> None:
    file = io.BytesIO()
    np.savez(file, a=np.zeros((2, 2, 4), np.uint8))
    file.seek(0)
    with pytest.raises(ImageError, match=r"found a zip archive \(\.npz files are such\)"):
        read_picture(file, Form(4), "x.npy")
