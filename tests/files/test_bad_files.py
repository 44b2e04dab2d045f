"""Files that are damaged, hostile or something else: each is one clear WeightsError, soon, and without much memory."""

import collections
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

from vitzoo.errors import WeightsError
from vitzoo.files import safetensors as safetensors_files
from vitzoo.files.read import READERS, open_tensors
from vitzoo.files.write import write

TENSORS = {"a": torch.arange(24.0).reshape(4, 6), "b": torch.linspace(0, 1, 9).half(), "c": torch.arange(3)}


def whole(path: Path, **options: Any) -> Path:
    write(path, iter(TENSORS.items()), {k: (tuple(t.shape), t.dtype) for k, t in TENSORS.items()}, {}, **options)
    return path


def read_all(path: Path) -> None:
    file = open_tensors(path)
    for key in file.shapes:
        file.read(key)


def refused(path: Path, *words: str) -> str:
    """What is said on reading; it names the file, and at most a few megabytes were allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError) as error:
            read_all(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    said = str(error.value)
    assert path.name in said
    assert "\n" not in said
    for word in words:
        assert word in said
    return said


# --- something else altogether, of every kind ---


@pytest.mark.proves(
    claim="damaged and hostile files, among them pickles that would run code",
    against="files cut, forged and armed",
    tolerance="one clear error each",
)
@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty; fetch or copy it again"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "this is a web page"),
        (b"\xef\xbb\xbf\n <?xml version='1.0'?><Error>AccessDenied</Error>", "this is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\0" * 1000, "fetch or copy it again"),
        (bytes(range(256)) * 8, "fetch or copy it again"),
        (b"{}", "fetch or copy it again"),
        (b"PK\x03\x04", "fetch or copy it again"),
        (b"\x89HDF\r\n\x1a\n" + bytes(512), "fetch or copy it again"),
    ],
)
def test_something_else(tmp_path: Path, suffix: str, content: bytes, words: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    refused(path, f"({len(content):,} bytes) cannot be read as a", words)


@pytest.mark.parametrize("suffix", [*READERS, "old.pth"])
def test_truncated_anywhere(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == "old.pth":
        torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    else:
        whole(path)
    read_all(path)
    content = path.read_bytes()
    for end in {*range(0, len(content), max(1, len(content) // 60)), *range(len(content) - 8, len(content))}:
        path.write_bytes(content[:end])
        with pytest.raises(WeightsError, match=r"cannot be read as an? "):
            read_all(path)


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.pth", "no weights file at"),
        (tmp_path / "none.pth" / "deeper.pth", "no weights file at"),
        (tmp_path, "is a folder without weights; expected one of model.safetensors, .* found nothing"),
        (Path("/dev/null"), "is a device or pipe; expected a file"),
    ):
        with pytest.raises(WeightsError, match=message):
            open_tensors(path)
    (tmp_path / "x.h5").touch()
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(WeightsError, match=r"x.h5 \(0 bytes\) cannot be read as a weights file: it is empty"):
        open_tensors(tmp_path / "x.h5")
    with pytest.raises(WeightsError, match="is a folder; expected a file"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "x.pth"])
def test_a_file_that_may_not_be_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = whole(tmp_path / name)
    if os.geteuid():
        path.chmod(0)
    else:  # root reads everything

        def denied(*_: Any, **__: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", denied)
        monkeypatch.setattr(safetensors_files, "safe_open", denied)
        monkeypatch.setattr(zipfile, "ZipFile", denied)
    with pytest.raises(WeightsError, match="cannot be read: Permission denied; check its permissions"):
        open_tensors(path)


# --- safetensors ---


def tensor(begin: int, end: int, dtype: str = "F32", size: int = 1) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [size], "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": tensor(0, 4), "b": tensor(0, 4)}, "invalid offset"),
        ({"a": tensor(0, 8, size=2), "b": tensor(4, 8)}, "invalid offset"),
        ({"a": tensor(0, 4), "b": tensor(8, 12)}, "invalid offset"),
        ({"a": tensor(0, 4, size=3)}, ""),
        ({"a": tensor(0, 1 << 60, size=1 << 58)}, ""),
        ({"a": tensor(0, 4, "F31")}, ""),
        ({"a": 3}, ""),
        ([], ""),
    ],
)
def test_safetensors_headers_that_lie(tmp_path: Path, header: object, words: str) -> None:
    path, text = tmp_path / "x.safetensors", json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
    refused(path, "cannot be read as a safetensors file", words)


def test_safetensors_header_of_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for size in (10, (1 << 30) + 8):  # the second has the bytes it announces: a hole in the file
        with path.open("wb") as file:
            file.write((1 << 30).to_bytes(8, "little") + b"{}")
            file.truncate(size)
        refused(path, "header too large")


def test_a_type_that_torch_lacks(tmp_path: Path) -> None:
    path, text = tmp_path / "x.safetensors", json.dumps({"a": tensor(0, 4, "F4", 8)}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(WeightsError, match="'a' is of type F4; convert it to one of U64"):
        _ = open_tensors(path).dtypes


# --- npz ---


def npz(path: Path, members: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(array: np.ndarray[Any, Any], *, shape: tuple[int, ...] | None = None, version: int = 1) -> bytes:
    """An .npy file, whose header may state another shape than the array's."""
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape if shape is None else shape}
    text = repr(header).encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text + array.tobytes()


ONES = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.npy": npy(ONES, shape=(1 << 40,))}, "'a' should be [1099511627776] of float32, and has 16 bytes"),
        ({"a.npy": npy(ONES, shape=(3,))}, "'a' should be [3] of float32, and has 16 bytes"),
        ({"a.npy": npy(ONES, shape=(-2, -2))}, "'a' should be [-2, -2]"),
        ({"a.npy": npy(ONES, version=9)}, "'a' is in version (9, 0) of the npy format"),
        ({"a.npy": npy(ONES.astype(">f4"))}, "'a' is big-endian (>f4); expected <f4"),
        ({"a.npy": npy(np.array(["x"]))}, "'a' is of type <U1, and torch has no such tensors"),
        ({"a.npy": npy(np.ones(2, np.complex64))}, "'a' is of type complex64"),
        ({"a.npy": b"garbage"}, "cannot be read as an npz file"),
        ({"a.npy": b""}, "cannot be read as an npz file"),
        ({"a.txt": b"x"}, "its member 'a.txt' is not an array; expected names that end in .npy"),
    ],
)
def test_npz_members_that_lie(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    read_all(npz(tmp_path / "good.npz", {"a.npy": npy(ONES)}))
    refused(npz(tmp_path / "x.npz", members), words)


class Armed:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (self.path,)


def test_npz_of_objects_runs_nothing(tmp_path: Path) -> None:
    fired = tmp_path / "fired"
    np.savez(tmp_path / "x.npz", good=ONES, a=np.array([Armed(fired)], dtype=object))
    refused(tmp_path / "x.npz", "'a' holds pickled objects, which are never loaded")
    assert not fired.exists()
    np.load(tmp_path / "x.npz", allow_pickle=True)["a"]
    assert fired.exists()  # so the file was armed


def test_zip_bombs(tmp_path: Path) -> None:
    head = npy(ONES[:0], shape=(100_000_000,))
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        member.write(head)
        for _ in range(400):
            member.write(bytes(1_000_000))
    refused(path, "it would unpack to 400,000,128 bytes, more than 100 times its own size")
    for declared, words in ((1 << 40, "declares 1,099,511,627,776 bytes, more than it could hold"), (90, "")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", npy(ONES))
            archive.filelist[0].file_size = declared  # goes into the directory at the end of the archive
        refused(path, words)


def test_npz_archives_that_numpy_never_writes(tmp_path: Path) -> None:
    refused(
        npz(tmp_path / "x.npz", {"a.npy": npy(ONES)}, zipfile.ZIP_LZMA), "compressed in a way that numpy never uses"
    )
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("a.npy", npy(ONES))
        archive.writestr("b.npy", npy(ONES))
        archive.filelist[1].filename = "a.npy"
    refused(tmp_path / "y.npz", "two members have the same name")


@pytest.mark.parametrize("name", ["x.npz", "y.npz"])
def test_npz_with_a_flipped_byte(tmp_path: Path, name: str) -> None:
    path = npz(tmp_path / name, {"a.npy": npy(np.arange(4096.0))}, zipfile.ZIP_STORED if name[0] == "x" else 8)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    refused(path, "cannot be read as an npz file")


# --- pth ---


@pytest.mark.proves(promise="No code from weights, no path from the network", against="pickles that would run code")
@pytest.mark.proves(
    claim="damaged and hostile files, among them pickles that would run code",
    against="files cut, forged and armed",
    tolerance="one clear error each",
)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"model": x}, lambda x: {"model": TENSORS, "optimizer": [x]}])
def test_a_pickle_that_runs_code_does_not_run(tmp_path: Path, wrap: Callable[[Any], Any], zipped: bool) -> None:
    fired, path = tmp_path / "fired", tmp_path / "x.pth"
    torch.save(wrap(Armed(fired)), path, _use_new_zipfile_serialization=zipped)
    refused(path, "was not loaded, because that could run code: it asks for", f"{os.name}.mkdir")
    assert not fired.exists()
    torch.load(path, weights_only=False)
    assert fired.exists()  # so the file was armed


def test_a_plain_pickle_that_runs_code_does_not_run(tmp_path: Path) -> None:
    fired, path = tmp_path / "fired", tmp_path / "x.bin"
    path.write_bytes(pickle.dumps({"a": Armed(fired)}))
    refused(path)
    assert not fired.exists()


def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "is a TorchScript archive, a program together with its weights", "state_dict()")


def test_an_archive_that_was_packed_again(tmp_path: Path) -> None:
    with zipfile.ZipFile(whole(tmp_path / "x.pth")) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    refused(npz(tmp_path / "y.pth", members, zipfile.ZIP_DEFLATED), "was compressed after torch wrote it")


def endless() -> dict[str, Any]:
    state: dict[str, Any] = {}
    state["model"] = state
    return state


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (endless(), "found model"),
        ([torch.ones(1)], "expected names with tensors, found a list"),
        (torch.ones(1), "expected names with tensors, found a Tensor"),
        ({}, "expected a mapping from names to tensors"),
        ({"model": {}}, "expected a mapping from names to tensors"),
        ({"net": {"a": 2}, "lr": 1}, "found net, lr"),
        ({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, "choose one with wrapper='a' or wrapper='b'"),
        ({0: torch.ones(1)}, "expected a mapping from names to tensors"),
        ({"a": torch.ones(1).expand(1 << 40)}, "'a' declares [1099511627776], more than the file could hold"),
        ({"a": torch.eye(3).to_sparse()}, "save it as one"),
    ],
)
def test_what_is_no_state_dict(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", words)


def old(path: Path, declared: int, size: int, listed: list[str], stored: list[float], more: bytes = b"") -> Path:
    """A file as torch wrote it before archives: one tensor of `size` in a storage of `declared` floats."""
    storage = object()

    class Declared:
        def __reduce__(self) -> tuple[Any, ...]:
            arguments = (storage, 0, (size,), (1,), False, collections.OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", declared, None) if obj is storage else None

    out = BytesIO()
    sizes = {"short": 2, "int": 4, "long": 4}
    about = {"protocol_version": PROTOCOL_VERSION, "little_endian": True, "type_sizes": sizes}
    for part in (MAGIC_NUMBER, PROTOCOL_VERSION, about, {"a": Declared()}, listed):
        Pickler(out, protocol=2).dump(part)
    path.write_bytes(out.getvalue() + struct.pack(f"<q{len(stored)}f", len(stored), *stored) + more)
    return path


def test_old_files_that_torch_itself_would_fill_with_what_was_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    read_all(old(path, 4, 4, ["0"], [1, 2, 3, 4]))
    assert open_tensors(path).read("a").tolist() == [1, 2, 3, 4]
    read_all(old(path, 4, 4, ["0"], [0, 0, 0, 0]))  # zeros that were read are not mistaken for what was left out
    padding = bytes(1 << 16)
    for declared, size, listed in (
        (4, 4, []),
        (4, 400, []),
        (4, 400, ["0"]),
        (0, 400, []),
        (0, 400, ["0"]),
        (9, 9, []),
    ):
        refused(old(path, declared, size, listed, [1, 2, 3, 4], padding), "cannot be read as a torch file")
    refused(old(path, 4, 4, [], [1, 2, 3, 4], padding), "it leaves out bytes of tensors that it declares")
    refused(old(path, 1 << 30, 4, ["0"], [1, 2, 3, 4]), "it declares more bytes of tensors than it could hold")
    refused(old(path, 5, 5, ["0"], [1, 2, 3, 4], padding))  # the storage and the file disagree


@pytest.mark.parametrize("change", [(b"K\x04\x85", b"K\x40\x85"), (b"K\x01\x85", b"K\x09\x85"), (b"QK\x00", b"QK\x70")])
def test_archives_whose_tensors_are_longer_than_their_storage(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    torch.save({"a": torch.arange(4.0)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    assert members[name].count(change[0]) == 1
    refused(npz(tmp_path / "y.pth", members | {name: members[name].replace(*change)}), "cannot be read as a torch file")


# --- shards ---


def shards(folder: Path, change: Callable[[dict[str, Any]], object] = lambda index: None) -> Path:
    """Three shards, and an index that was changed."""
    whole(folder, shard_size=60)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    return path


def test_index_and_shards_must_agree(tmp_path: Path) -> None:
    path = shards(tmp_path / "x")
    read_all(path)
    names = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    first = path.with_name(names[0])
    content = first.read_bytes()
    first.unlink()
    refused(path, f"1 of {len(names)} shards are missing: {names[0]}; fetch them")
    save_file(TENSORS, first)
    refused(path, f"{names[0]} also holds", "fetch index and shards again")
    save_file({"z": torch.ones(1)}, first)
    refused(path, f"{names[0]} lacks")
    first.write_bytes(content[:-1])
    with pytest.raises(WeightsError, match=f"{names[0]}.*cannot be read as a safetensors file"):
        read_all(path)
    first.write_bytes(content)
    read_all(path)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "a\\b.safetensors", ".x.safetensors", "x.bin", "C:x"]
)
def test_shards_elsewhere(tmp_path: Path, name: str) -> None:
    path = shards(tmp_path / "x", lambda index: index["weight_map"].update(a=name))
    refused(path, f"names the shard {name!r}; expected the plain name of a .safetensors file beside it")


@pytest.mark.parametrize("total", [1, 10**30, "many", [1]])
def test_a_wrong_total(tmp_path: Path, total: object) -> None:
    path = shards(tmp_path / "x", lambda index: index["metadata"].update(total_size=total))
    refused(path, "its total_size is" if not isinstance(total, int) else "bytes of tensors, and its shards hold 138")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", "{}", "\0" * 99, '{"weight_map": {}}', '{"weight_map": []}', '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "x.safetensors"}, "metadata": 3}', "[" * 100_000,
    ],
)  # fmt: skip
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    refused(path, "cannot be read as an index file")


def test_an_index_too_large(tmp_path: Path) -> None:
    path = shards(tmp_path / "x")
    with path.open("ab") as file:
        file.truncate(17 << 20)
    refused(path, "it has more than 16,777,216 bytes")
