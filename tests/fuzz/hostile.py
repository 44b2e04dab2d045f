"""Files that an enemy makes on purpose, each by code: small, and asking for far more than they have."""

import io
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.corpus import UNSEEN, all_pictures, bands, drafted, model, tensors
from PIL import Image

import vitzoo
from vitzoo.images.load import load_image
from vitzoo.registry.recipes import Recipe
from vitzoo.registry.strict_yaml import read_yaml
from vitzoo.sources.lock import read_lock


class Hostile(NamedTuple):
    """A file: what it is, how it is made under a path, and how it is read."""

    what: str
    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def create(path: Path) -> None:
    vitzoo.create(path, layout="timm", **UNSEEN)


# --- torch's files ---


def archive(data: bytes, records: dict[str, bytes] | None = None) -> Callable[[Path], object]:
    """A file as torch writes it, around a pickle that torch would not write."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x/data.pkl", data)
            for name, content in (records or {"0": bytes(64)}).items():
                file.writestr(f"x/data/{name}", content)

    return make


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 16) -> bytes:
    """A float tensor of `count` numbers in record 0, seen as it should not be."""
    pid = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(count) + b"tQ"
    sizes = b"".join(b"(" + b"".join(map(number, one)) + b"t" for one in (shape, stride))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + number(offset) + sizes + b"\x89N" + b"tR"


def state(value: bytes) -> bytes:
    return opcodes(b"}", text("a"), value, b"s")


def doubled(begin: bytes, step: Callable[[int], bytes], times: int = 64) -> bytes:
    """Each level holds the one below twice: a little text for 2**times values."""
    return opcodes(begin, b"q\x00", *(step(level) + b"q" + bytes([level + 1]) for level in range(times)))


def of_lists(level: int) -> bytes:
    return b"0](h" + bytes([level]) + b"h" + bytes([level]) + b"e"


def of_dicts(level: int) -> bytes:
    one = b"h" + bytes([level])
    return b"0}(" + text("a") + one + text("b") + one + b"u"


PICKLES = {
    "a dictionary that holds itself": opcodes(b"}q\x00", text("a"), b"h\x00s"),
    "a list that holds itself": opcodes(b"}", text("model"), b"]q\x00h\x00as"),
    "lists doubled 64 times": doubled(b"]", of_lists),
    "dictionaries doubled 64 times": doubled(b"}", of_dicts),
    "dictionaries of tensors doubled 24 times": doubled(b"}" + text("t") + tensor((4,), (1,)) + b"s", of_dicts, 24),
    "a hundred thousand lists in each other": opcodes(b"]" * 100_000, b"a" * 99_999),
    "a hundred thousand dictionaries in each other": opcodes(b"}", (text("model") + b"}") * 100_000, b"s" * 100_000),
    "one number seen a trillion times": state(tensor((1 << 40,), (0,))),
    "one number seen in a thousand axes": state(tensor((1,) * 1000, (0,) * 1000)),
    "overlapping rows": state(tensor((1 << 16, 1 << 16), (0, 0))),
    "a stride beyond the record": state(tensor((2,), (1 << 60,))),
    "a negative stride": state(tensor((2,), (-1,), 4)),
    "an offset beyond the record": state(tensor((1,), (1,), 1 << 40)),
    "a negative offset": state(tensor((1,), (1,), -4)),
    "an empty tensor of 2**62 rows": state(tensor((1 << 62, 0), (1, 1))),
    "sizes whose product is 2**64": state(tensor((1 << 32, 1 << 32), (1, 1))),
    "more numbers than the record has": state(tensor((4,), (1,), count=1 << 40)),
    "a number of a million digits": opcodes(b"I" + b"9" * 1_000_000 + b"\n"),
    "marks without an end": b"\x80\x02" + b"(" * 300_000,
    "a text that says that it has 4 GB": opcodes(b"X\xff\xff\xff\xff"),
    "a memo at place two billion": opcodes(b"}r\xff\xff\xff\x7f"),
}


def two_records(path: Path) -> None:
    """A directory that lists the pickle twice, each time another."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", state(tensor((4,), (1,))))
        file.writestr("y/data.pkl", b"\x80\x02cos\nsystem\n.")
        file.writestr("x/data/0", bytes(64))


# --- safetensors ---


def safetensors(header: bytes) -> Callable[[Path], object]:
    """A file with as many bytes as its last tensor says, if they are few."""
    ends = [end for end in map(int, re.findall(rb"([0-9]{1,20})[]]}", header)) if end <= 64]
    return lambda path: path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(max(ends, default=0)))


def described(**tensors: Any) -> bytes:
    return json.dumps(tensors).encode()


def one(start: int, end: int, *shape: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def empty_tensors(count: int) -> bytes:
    return json.dumps({f"t{i}": one(0, 0, 0) for i in range(count)}).encode()


HEADERS = {
    "two tensors in one place": described(a=one(0, 16, 4), b=one(8, 24, 4)),
    "a hole between tensors": described(a=one(0, 4, 1), b=one(1 << 40, (1 << 40) + 4, 1)),
    "an end before the begin": described(a=one(16, 0, 4)),
    "sizes whose product is 2**64": described(a=one(0, 0, 1 << 32, 1 << 32)),
    "an empty tensor of 2**62 rows": described(a=one(0, 0, 1 << 62, 0)),
    "three hundred thousand empty tensors": empty_tensors(300_000),
    "lists in each other": b'{"a":' + b"[" * 200_000,
    "metadata in each other": described(__metadata__={"vitzoo": '{"spec":' * 50_000}),
    "metadata with a number of ten thousand digits": described(
        __metadata__={"vitzoo": '{"format": ' + "9" * 10_000 + "}"}
    ),
    "metadata of a billion blocks": described(
        __metadata__={"vitzoo": json.dumps({"format": 1, "spec": {"depth": 1e9}})}
    ),
    "metadata of ten million letters": described(__metadata__={"vitzoo": "x" * 10_000_000}),
    "names that are paths, lines and nothing": described(
        **{
            name: one(4 * i, 4 * i + 4, 1)
            for i, name in enumerate(("../../x", "a\0b", "a\nb", "", "\x1b[2J", "/etc/x"))
        }
    ),
    "a name of a million letters": described(**{"x" * 1_000_000: one(0, 4, 1)}),
    "the same name twice": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
    "a type that nobody knows": described(a=one(0, 4, 1, dtype="F4096")),
}


def index(shards: dict[str, Any], beside: Callable[[Path], object] = lambda path: None) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.write_text(json.dumps({"weight_map": shards}))
        beside(path.with_name("s.safetensors"))

    return make


# --- numpy ---


def npz(*members: tuple[str, bytes]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members:
                file.writestr(name, content)

    return make


def npy(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def zeros(size: int) -> Callable[[Path], object]:
    return npz(("a.npy", npy(f"({size},)", "'|u1'") + bytes(size)))


def nested(path: Path) -> None:
    """An archive in an archive in an archive, each of zeros."""
    data = bytes(64 << 20)
    for _ in range(3):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.npy", data)
        data = inner.getvalue()
    path.write_bytes(data)


def overlapping(path: Path) -> None:
    """Ten thousand entries of the directory for the same bytes."""
    data = npy("(2500000,)") + bytes(10_000_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a0.npy", data)
        first = file.infolist()[0]
        for i in range(1, 10_000):
            again = zipfile.ZipInfo(f"a{i}.npy")
            for field in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(again, field, getattr(first, field))
            file.filelist.append(again)
            file.NameToInfo[again.filename] = again


NUMPY = {
    "300 megabytes of zeros": zeros(300 << 20),
    "archives in each other": nested,
    "ten thousand members in one place": overlapping,
    "brackets in each other": npz(("a.npy", npy("(" * 5000))),
    "a negative size": npz(("a.npy", npy("(-4,)"))),
    "a size of a thousand digits": npz(("a.npy", npy(f"({'9' * 1000},)"))),
    "an empty array of 2**62 rows": npz(("a.npy", npy(f"({1 << 62}, 0)"))),
    "objects": npz(("a.npy", npy("(1,)", "'|O'") + pickle.dumps([print]))),
    "a record in a record": npz(("a.npy", npy("(1,)", "[('a', [('b', '<f4', (1000000, 1000000))])]"))),
    "names that are paths": npz(("../../x.npy", npy("(1,)") + bytes(4)), ("/etc/x.npy", npy("(1,)") + bytes(4))),
}


# --- texts ---


def no_file(kind: str) -> Callable[[Path], object]:
    """Something under the name of a file that is none."""

    def make(path: Path) -> None:
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "device":
                path.symlink_to("/dev/zero")
            case "random":
                path.symlink_to("/dev/urandom")
            case "circle":
                path.symlink_to(path)
            case "folder":
                path.mkdir()
            case "hole":
                with path.open("wb") as file:
                    file.truncate(1 << 42)

    return make


def weights_beside(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def made(path: Path) -> None:
        vitzoo.save(model(), path.with_name("w.safetensors"), "timm")
        make(path)

    return made


def said(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def create_beside(path: Path) -> None:
    vitzoo.create(path.with_name("w.safetensors"), layout="timm", **UNSEEN)


def recipe(path: Path) -> None:
    Recipe.parse(read_yaml(path), str(path))


CONFIGURATIONS = {
    "lists in each other": "[" * 1_000_000,
    "objects in each other": '{"a":' * 1_000_000,
    "a number of a million digits": '{"architecture": "vit_tiny_patch16_224", "num_classes": ' + "9" * 1_000_000 + "}",
    "numbers that are none": '{"architecture": "vit_tiny_patch16_224", "num_classes": NaN, "num_features": -Infinity}',
    "sizes beyond all models": '{"model_type": "vit", "hidden_size": 1e300, "num_hidden_layers": 1e300}',
    "a name of ten million letters": '{"architecture": "' + "x" * 10_000_000 + '"}',
    "a million labels": json.dumps({"model_type": "vit", "id2label": {str(i): "x" for i in range(500_000)}}),
    "no text": b"\xff\xfe" * 1000,
}
TEXTS_OF_YAML = {
    "anchors doubled 30 times": "a0: &a0 [x, x]\n"
    + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)),
    "an anchor that holds itself": "a: &a\n  b: *a\n",
    "lists in each other": "a: " + "[" * 100_000,
    "lines in each other": "".join(" " * i + "a:\n" for i in range(3000)),
    "merged keys in each other": "a: &a {x: 1}\nb: &b\n  <<: [*a, *a, *a]\nc:\n  <<: *b\n",
    "a number of a million digits": "a: " + "9" * 1_000_000,
    "a number of sixty": "a: " + ":".join(["59"] * 100_000),
    "a Python object": "a: !!python/object/apply:os.system [touch fired]\n",
    "half a million keys": "\n".join(f"k{i}: 1" for i in range(500_000)),
    "a key that is a list": "? [a, b]\n: 1\n",
}


# --- pictures ---


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, *more: bytes, body: bytes = b"") -> Callable[[Path], object]:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = zlib.compress(body or bytes(1 << 16))
    content = b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return lambda path: path.write_bytes(content)


def many(kind: str, count: int) -> Callable[[Path], object]:
    def frames() -> Iterator[Image.Image]:
        return (Image.new("P", (8, 8), i % 256) for i in range(count))

    def make(path: Path) -> None:
        first, *rest = frames()
        first.save(path, kind, save_all=True, append_images=rest)

    return make


def tiff(*directories: tuple[tuple[int, int, int, int], ...], follow: int = 0) -> Callable[[Path], object]:
    """Entries as they are; the last directory says that the next is at `follow`."""
    content, at = b"II*\0" + struct.pack("<I", 8), 8
    for i, entries in enumerate(directories):
        at += 2 + 12 * len(entries) + 4
        rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        last = follow if i == len(directories) - 1 else at
        content += struct.pack("<H", len(entries)) + rows + struct.pack("<I", last)
    return lambda path: path.write_bytes(content)


GREY = ((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 64))
VAST = ((256, 4, 1, 1 << 31), (257, 4, 1, 1 << 31), *GREY[2:])
STRIPS = (*GREY[:5], (273, 4, 1 << 30, 8), (279, 4, 1 << 30, 8))
PICTURES = {
    "a PNG of four billion pixels": ("x.png", png(1 << 16, 1 << 16, 8, 2)),
    "a PNG of 2**62 pixels": ("x.png", png((1 << 31) - 1, (1 << 31) - 1, 16, 6)),
    "a PNG whose text unpacks to a gigabyte": (
        "x.png",
        png(8, 8, 8, 0, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 28))), body=bytes(72)),
    ),
    "a PNG whose profile unpacks to a gigabyte": (
        "x.png",
        png(8, 8, 8, 0, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28))), body=bytes(72)),
    ),
    "a GIF of 3,000 frames": ("x.gif", many("GIF", 3000)),
    "a TIFF of 3,000 pages": ("x.tiff", tiff(*[GREY] * 3000)),
    "a TIFF whose pages go in a circle": ("x.tiff", tiff(GREY, follow=8)),
    "a TIFF of 2**62 pixels": ("x.tiff", tiff(VAST)),
    "a TIFF of a billion strips": ("x.tiff", tiff(STRIPS)),
    "EPS that is called a PNG": ("x.png", said("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch) run\n")),
    "SVG that is called a PNG": ("x.png", said("<svg xmlns='http://www.w3.org/2000/svg' width='1e9' height='1e9'/>")),
    "a PPM in letters, of a billion pixels": ("x.ppm", said("P3\n40000 40000\n255\n" + "0 " * 1000)),
    "a BMP of four billion pixels": (
        "x.bmp",
        said(
            b"BM"
            + struct.pack("<IHHI", 100, 0, 0, 54)
            + struct.pack("<IiiHHIIiiII", 40, 1 << 16, 1 << 16, 1, 24, *[0] * 6)
        ),
    ),
    "a pipe": ("x.png", no_file("pipe")),
    "a device": ("x.png", no_file("device")),
    "a link to itself": ("x.png", no_file("circle")),
    "a hole of four terabytes": ("x.png", no_file("hole")),
}


# --- data sets ---


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with tarfile.open(path, "w") as file:
            for member, content in members:
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))

    return make


def small() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "PNG")
    return data.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found, small() if kind == tarfile.REGTYPE else b""


def announced(path: Path) -> None:
    """A member that says that it has 8 TB, and an extended header that says that it has a gigabyte."""
    vast, header = tarfile.TarInfo("a/0.png"), tarfile.TarInfo("pax")
    vast.size = 8 << 40
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    path.write_bytes(header.tobuf() + vast.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def beside_picture(make: Callable[[Path], object], name: str = "x.png") -> Callable[[Path], object]:
    """A folder of classes with one more thing in it."""

    def made(path: Path) -> None:
        for label in "ab":
            (path / label).mkdir(parents=True)
            (path / label / "0.png").write_bytes(small())
        make(path / "a" / name)

    return made


def rows(*lines: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.with_name("0.png").write_bytes(small())
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")

    return make


def places(*names: str) -> Callable[[Path], object]:
    """A table of pictures at these places, and of one that is a picture."""
    return rows("image,label", "0.png,a", *(f"{name},b" for name in names))


TARS = {
    "names that are paths": packed(
        member("/0.png"), member("../b/0.png"), member("a/../../c/0.png"), member("a/1.png")
    ),
    "names with lines and escapes": packed(member("a\n/0.png"), member("\x1b[2J/0.png"), member("b/0.png")),
    "links in a circle": packed(
        member("a/0.png", tarfile.SYMTYPE, "0.png"), member("b/0.png", tarfile.LNKTYPE, "b/0.png")
    ),
    "devices and pipes": packed(
        member("a/0.png", tarfile.CHRTYPE), member("b/0.png", tarfile.FIFOTYPE), member("b/1.png")
    ),
    "members that say that they have terabytes": announced,
    "eight thousand members": packed(*(member(f"a/{i}.png", tarfile.DIRTYPE) for i in range(8_000)), member("b/0.png")),
}
FOLDERS = {
    "a pipe": beside_picture(no_file("pipe")),
    "a device": beside_picture(no_file("device")),
    "a link to itself": beside_picture(no_file("circle")),
    "a link to the folder above": beside_picture(lambda path: path.symlink_to(path.parents[1]), "c"),
    "a hole of four terabytes": beside_picture(no_file("hole")),
    "a name that is no text": beside_picture(
        lambda path: Path(os.fsdecode(os.fsencode(path) + b"\xff.png")).write_bytes(small())
    ),
    "a name with a line and an escape": beside_picture(lambda path: path.write_bytes(small()), "x\n\x1b[2J.png"),
}
TABLES = {
    "places that are no files": (
        "x.csv",
        places("/dev/zero", "/dev/stdin", ".", "..", "\x00", "x" * 5000, "/proc/self/mem"),
    ),
    "a quotation mark without an end": ("x.csv", rows("image,label", '"' + "0.png,a\n" * 200_000)),
    "a hundred thousand columns": ("x.csv", rows(",".join(f"c{i}" for i in range(100_000)), "0.png,a")),
    "a cell of ten million letters": ("x.csv", rows("image,label", "0.png," + "a" * 10_000_000)),
    "objects in each other": ("x.jsonl", rows('{"image": "0.png", "label": ' + "[" * 200_000)),
    "a number of a million digits": ("x.jsonl", rows('{"image": "0.png", "label": ' + "9" * 1_000_000 + "}")),
    "labels of every kind": (
        "x.jsonl",
        rows(*(json.dumps({"image": "0.png", "label": value}) for value in ("a", 1, None, [1], {"a": 1}, 1e308, True))),
    ),
    "no Parquet": ("x.parquet", said(b"PAR1" + b"\xff" * 1000 + struct.pack("<I", 1 << 30) + b"PAR1")),
    "a pipe": ("x.csv", no_file("pipe")),
    "a hole of four terabytes": ("x.csv", no_file("hole")),
}


HOSTILE = (
    *(Hostile(f"pth: {what}", "x.pth", archive(data), tensors) for what, data in PICKLES.items()),
    *(
        Hostile(f"pth, created: {what}", "x.pth", archive(PICKLES[what]), create)
        for what in ("one number seen a trillion times", "dictionaries of tensors doubled 24 times")
    ),
    Hostile("pth: two pickles", "x.pth", two_records, tensors),
    Hostile("pth, old: a pickle of marks", "x.pth", said(b"\x80\x02" + b"(" * 300_000), tensors),
    *(Hostile(f"safetensors: {what}", "x.safetensors", safetensors(head), create) for what, head in HEADERS.items()),
    *(
        Hostile(f"weights: {kind}", "x.safetensors", no_file(kind), create)
        for kind in ("pipe", "device", "circle", "folder", "hole")
    ),
    Hostile(
        "index: 200,000 shards",
        "x.safetensors.index.json",
        index({f"t{i}": f"s{i}.safetensors" for i in range(200_000)}),
        create,
    ),
    *(
        Hostile(
            f"index: a shard that is a {kind}",
            "x.safetensors.index.json",
            index({"a": "s.safetensors"}, no_file(kind)),
            create,
        )
        for kind in ("pipe", "device", "circle", "hole")
    ),
    *(Hostile(f"npz: {what}", "x.npz", make, tensors) for what, make in NUMPY.items()),
    *(
        Hostile(f"config.json: {kind}", "config.json", weights_beside(no_file(kind)), create_beside)
        for kind in ("pipe", "device", "random", "circle", "folder", "hole")
    ),
    *(
        Hostile(f"config.json: {what}", "config.json", weights_beside(said(content)), create_beside)
        for what, content in CONFIGURATIONS.items()
    ),
    *(Hostile(f"lock: {kind}", "vitzoo.lock", no_file(kind), read_lock) for kind in ("pipe", "device", "hole")),
    Hostile("lock: lists in each other", "vitzoo.lock", said("[" * 1_000_000), read_lock),
    *(Hostile(f"recipe: {what}", "x.yaml", said(content), recipe) for what, content in TEXTS_OF_YAML.items()),
    *(Hostile(f"registry: {what}", "x.yaml", said(content), drafted) for what, content in TEXTS_OF_YAML.items()),
    *(Hostile(f"picture: {what}", name, make, load_image) for what, (name, make) in PICTURES.items()),
    *(
        Hostile(f"bands: {what}", "x.npy", said(data), bands)
        for what, data in {
            "a billion pixels": npy("(5, 100000, 100000)", "'|u1'"),
            "objects": npy("(5, 2, 2)", "'|O'") + pickle.dumps([print]),
            "an empty array of 2**62 rows": npy(f"(5, {1 << 62}, 0)", "'|u1'"),
        }.items()
    ),
    *(Hostile(f"tar: {what}", "x.tar", make, all_pictures) for what, make in TARS.items()),
    *(
        Hostile(f"shards: {what}", "x.tar", make, lambda path: all_pictures(path, "wds/"))
        for what, make in TARS.items()
    ),
    *(Hostile(f"folder: {what}", "data", make, all_pictures) for what, make in FOLDERS.items()),
    *(Hostile(f"table: {what}", name, make, all_pictures) for what, (name, make) in TABLES.items()),
)
