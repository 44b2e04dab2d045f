"""Torch's files that lie: about the length of a record, about sizes, about how much there is to make."""

import io
import pickle
import resource
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import vitzoo
from vitzoo.errors import WeightsError
from vitzoo.files.read import open_tensors


def archive(path: Path, data: bytes, records: dict[str, bytes] | None = None) -> Path:
    """An archive of torch's with a pickle written by hand."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data)
        for name, content in (records or {}).items():
            file.writestr(f"archive/data/{name}", content)
    return path


def global_(name: str) -> bytes:
    module, _, kind = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + kind.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a" + bytes([10]) + value.to_bytes(10, "little", signed=True)


def tensor(key: str, count: int, shape: tuple[int, ...]) -> bytes:
    """As torch pickles one: a storage of `count` floats, seen as `shape`."""
    stored = b"(" + text("storage") + global_("torch.FloatStorage") + text(key) + text("cpu") + number(count) + b"tQ"
    size = b"(" + b"".join(map(number, shape)) + b"t"
    steps = b"(" + b"".join(number(int(np.prod(shape[n + 1 :]))) for n in range(len(shape))) + b"t"
    return global_("torch._utils._rebuild_tensor_v2") + b"(" + stored + number(0) + size + steps + b"\x89NtR"


def refused(path: Path, words: str) -> None:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(WeightsError, match=words) as error:
        open_tensors(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kilobytes
    assert time.process_time() - start < 20
    assert len(str(error.value)) < 1000


@pytest.mark.proves(guarantee="No code from files", against="a record shorter than its tensor, mapped and eager")
@pytest.mark.parametrize("eager", [False, True])
def test_a_short_record_gives_no_bytes_of_the_next(tmp_path: Path, eager: bool) -> None:
    data = b"\x80\x02}(" + text("a") + tensor("0", 4, (4,)) + text("b") + tensor("1", 4, (4,)) + b"u."
    ones, twos = np.ones(4, np.float32).tobytes(), np.full(4, 2, np.float32).tobytes()
    good = open_tensors(archive(tmp_path / "x.pth", data, {"0": ones, "1": twos}), eager=eager)
    assert [good.read(key).tolist() for key in "ab"] == [[1.0] * 4, [2.0] * 4]
    path = archive(tmp_path / "y.pth", data, {"0": ones[:8], "1": twos})
    with pytest.raises(WeightsError, match="its record 0 has 8 bytes, and 16 are declared"):
        open_tensors(path, eager=eager)


ARRAY = global_("numpy.core.multiarray._reconstruct") + b"(" + global_("numpy.ndarray")
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a numpy array of 6 GB": (
        lambda: b"\x80\x02}(" + text("a") + ARRAY + b"(" + number(6 << 30) + b"t" + text("b") + b"tRu.",
        "holds no state dict",
    ),
    "six billion bytes": (
        lambda: b"\x80\x02}(" + text("a") + global_("builtins.bytearray") + b"(" + number(6 << 30) + b"tRu.",
        "holds no state dict",
    ),
    "an array of bytes that is not there": (lambda: b"\x80\x05\x96" + struct.pack("<Q", 6 << 30) + b".", "no tensors"),
    "a text that is not there": (lambda: b"\x80\x04\x8d" + struct.pack("<Q", 6 << 30) + b".", "no tensors"),
    "a key of tuples in tuples": (
        lambda: b"\x80\x02}" + b"K\x01\x85" + b"2\x86" * 60 + b"K\x01s.",
        "a key that no program would write",
    ),
    "keys that share a hash": (
        lambda: b"\x80\x02}(" + b"".join(number(n * (2**61 - 1)) + b"N" for n in range(1, 20_000)) + b"u.",
        "a key that no program would write",
    ),
    "a mapping that is copied again and again": (
        lambda: (
            b"\x80\x02}q\x00("
            + b"".join(number(n) + b"N" for n in range(10_000))
            + b"u0]("
            + (global_("collections.OrderedDict") + b"h\x00\x85R") * 10_000
            + b"e."
        ),
        "more than 100,000 tensors, or as much of other things",
    ),
    "a tensor made again and again": (
        lambda: b"\x80\x02](" + tensor("0", 1, (1,)) * 110_000 + b"e.",
        "more than 100,000 tensors",
    ),
    "mappings in mappings, each many times": (
        lambda: (
            b"\x80\x02}q\x00("
            + b"".join(text(str(n)) + b"N" for n in range(300))
            + b"u"
            + b"".join(
                b"0}q" + bytes([d]) + b"(" + b"".join(text(str(n)) + b"h" + bytes([d - 1]) for n in range(300)) + b"u"
                for d in range(1, 6)
            )
            + b"."
        ),
        "holds no state dict",
    ),
    "sizes beyond all numbers": (
        lambda: b"\x80\x02}(" + text("a") + tensor("0", 1, (1 << 62, 1 << 62)) + b"u.",
        "it has a tensor of",
    ),
}


@pytest.mark.proves(guarantee="Bounds come before memory", against="pickles of a few bytes that ask for gigabytes")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    data, words = BOMBS[name]
    refused(archive(tmp_path / "x.pth", data(), {"0": bytes(4)}), words)


@pytest.mark.parametrize("stated", [b"\x82\x01", b"(cos\nsystem\no.", b"(ios\nsystem\n."])
def test_other_ways_to_a_class(tmp_path: Path, stated: bytes) -> None:
    import copyreg

    copyreg.add_extension("os", "system", 1)
    try:
        pickle._extension_cache[1] = print  # type: ignore[attr-defined]  # as if another program had used it
        refused(
            archive(tmp_path / "x.pth", b"\x80\x02" + stated + b"."), "cannot be read as a torch|asks for os.system"
        )
    finally:
        copyreg.remove_extension("os", "system", 1)


def test_a_file_changes_nothing_in_this_process(tmp_path: Path) -> None:
    """State and entries that are given to what stands for a class are dropped."""
    data = b"\x80\x02" + global_("collections.OrderedDict") + b"}(" + text("__init__") + b"Nub."
    refused(archive(tmp_path / "x.pth", data), "holds no state dict")
    torch.save({"a": torch.ones(2)}, tmp_path / "y.pth")
    assert open_tensors(tmp_path / "y.pth").read("a").tolist() == [1, 1]


def test_an_archive_with_a_directory_too_large(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pth", b"\x80\x02}.")
    content = bytearray(path.read_bytes())
    place = content.rfind(b"PK\5\6")
    content[place + 12 : place + 16] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(content)
    refused(path, "its directory has 1,073,741,824 bytes")


def test_big_endian_numbers(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pth", b"\x80\x02}(" + text("a") + tensor("0", 1, (1,)) + b"u.", {"0": bytes(4)})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/byteorder", "big")
    refused(path, "its numbers are big-endian")


def test_threads_that_read(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(2)}, "best": np.float64(1)}, tmp_path / "x.pth")
    failed, start = list[BaseException](), threading.Barrier(16)

    def read() -> None:
        try:
            start.wait()
            for _ in range(10):
                open_tensors(tmp_path / "x.pth")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def every_kind() -> dict[str, torch.Tensor]:
    return {
        "float": torch.randn(3, 4),
        "turned": torch.randn(3, 4).T,
        "part": torch.randn(9)[2:5],
        "half": torch.randn(3).bfloat16(),
        "new type": torch.arange(3).to(torch.uint16),
        "eighth": torch.randn(4).to(torch.float8_e4m3fn),
        "truth": torch.tensor([True, False]),
        "complex": torch.randn(2, dtype=torch.complex64),
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "buffer": torch.nn.Buffer(torch.randn(2)),
    }


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_writes_is_read(tmp_path: Path, old: bool, protocol: int) -> None:
    state = every_kind()
    state["tied"] = state["float"]
    layer = torch.nn.Linear(2, 2)
    beside = {"optimizer": torch.optim.AdamW(layer.parameters()).state_dict(), "rng": torch.get_rng_state()}
    path = tmp_path / "x.pth"
    torch.save({"model": state, **beside}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not old)
    for streamed, eager in ((False, False), (True, False), (False, True)):
        file = open_tensors(path, streamed=streamed, eager=eager)
        assert list(file.shapes) == list(state)
        for key, value in state.items():
            found, expected = (
                one.contiguous().reshape(-1).view(torch.uint8) for one in (file.read(key), value.detach())
            )
            assert found.equal(expected), key
            assert file.dtypes[key] == value.dtype
    assert file.read("tied").data_ptr() == file.read("float").data_ptr()


def test_old_files_with_views_of_storages(tmp_path: Path) -> None:
    """As torch wrote them before 0.4: a view says where in which storage it is."""
    out = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, out, 2)
    view = b"(" + text("storage") + global_("torch.FloatStorage") + text("0") + text("cpu") + number(6)
    view += b"(" + text("v") + number(2) + number(3) + b"ttQ"
    out.write(
        b"\x80\x02}(" + text("a") + global_("torch._utils._rebuild_tensor_v2") + b"(" + view + number(1)
        + b"(" + number(2) + b"t(" + number(1) + b"t\x89NtRu."
    )  # fmt: skip
    pickle.dump(["0"], out, 2)
    out.write(struct.pack("<q6f", 6, *range(6)))
    (tmp_path / "x.pth").write_bytes(out.getvalue())
    assert open_tensors(tmp_path / "x.pth").read("a").tolist() == [3.0, 4.0]


def test_a_model_saved_by_torch_is_created(tmp_path: Path) -> None:
    model = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    vitzoo.save(model, tmp_path / "x.pth", "timm")
    state = vitzoo.create(tmp_path / "x.pth", like="vit_nano4").state_dict()
    assert all(value.equal(state[key]) for key, value in model.state_dict().items())


def old_file(path: Path, count: int, listed: list[str], data: bytes) -> Path:
    """A file from before archives, with one tensor of `count` numbers."""
    out = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, out, 2)
    stored = b"(" + text("storage") + global_("torch.FloatStorage") + text("0") + text("cpu") + number(count) + b"NtQ"
    made = global_("torch._utils._rebuild_tensor_v2") + b"(" + stored + number(0) + b"(" + number(count) + b"t("
    out.write(b"\x80\x02}(" + text("a") + made + number(1) + b"t\x89NtRu.")
    pickle.dump(listed, out, 2)
    path.write_bytes(out.getvalue() + data)
    return path


def test_old_files_that_lie(tmp_path: Path) -> None:
    """What is declared and not there would be whatever the memory held before."""
    path, two = tmp_path / "x.pth", struct.pack("<q2f", 2, 1.0, 2.0)
    assert open_tensors(old_file(path, 2, ["0"], two)).read("a").tolist() == [1.0, 2.0]
    refused(old_file(path, 10_000, ["0"], two), "it declares more bytes of tensors than it could hold")
    refused(old_file(path, 2, [], two), "it leaves out bytes of tensors that it declares")
    refused(old_file(path, 2, ["0", "1"], two), "it leaves out bytes of tensors that it declares")
    refused(old_file(path, 2, ["0"], struct.pack("<q2f", 1, 1.0, 2.0)), "not as many as it declares")
    refused(old_file(path, 2, ["0"], two[:-1]), "not as many as it declares")


def moved(path: Path, place: int, most: int = 8) -> Path:
    """An archive whose directory says that record 0 begins elsewhere and has `most` bytes."""
    archive(path, b"\x80\x02}(" + text("a") + tensor("0", 2, (2,)) + b"u.", {"0": bytes(8), "1": b"\x01" * 8})
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"archive/data/0") - 46  # the length of what is before a name in the directory
    content[entry + 20 : entry + 28] = struct.pack("<II", most, most)
    content[entry + 42 : entry + 46] = place.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_records_that_are_not_where_the_directory_says(tmp_path: Path) -> None:
    """Read through the mapping, they would be bytes of something else."""
    place = moved(tmp_path / "x.pth", 0).read_bytes().find(b"archive/data/0") - 30
    assert open_tensors(moved(tmp_path / "x.pth", place)).read("a").tolist() == [0.0, 0.0]
    refused(moved(tmp_path / "x.pth", place + 1), "its record archive/data/0 is not where its directory says")
    refused(moved(tmp_path / "x.pth", 1 << 30), "its record archive/data/0 is not where its directory says")
    path = moved(tmp_path / "x.pth", place, 1 << 20)
    data = b"\x80\x02}(" + text("a") + tensor("0", 1 << 18, (1 << 18,)) + b"u."
    assert len(data) == len(b"\x80\x02}(" + text("a") + tensor("0", 2, (2,)) + b"u.")
    content = path.read_bytes()
    start = content.find(b"\x80\x02}(")
    content = content[:start] + data + content[start + len(data) :]
    crc = zlib.crc32(data).to_bytes(4, "little")
    content = content.replace(
        zlib.crc32(b"\x80\x02}(" + text("a") + tensor("0", 2, (2,)) + b"u.").to_bytes(4, "little"), crc
    )
    path.write_bytes(content)
    refused(path, "its record 0 reaches beyond the end of the file")


@pytest.mark.parametrize("eager", [False, True])
def test_tensors_are_aligned(tmp_path: Path, eager: bool) -> None:
    """Torch's own records are; those that another program packed may stand anywhere."""
    for name in ("x", "xx", "xxx", "xxxx"):
        path = archive(
            tmp_path / f"{name}.pth", b"\x80\x02}(" + text(name) + tensor("0", 2, (2,)) + b"u.", {"0": bytes(8)}
        )
        assert open_tensors(path, eager=eager).read(name).data_ptr() % 4 == 0


def test_sizes_and_places_that_are_none(tmp_path: Path) -> None:
    path, begin = tmp_path / "x.pth", b"\x80\x02}(" + text("a")
    refused(archive(path, begin + tensor("0", -1, (1,)) + b"u.", {"0": bytes(4)}), "it declares a tensor of no size")
    refused(archive(path, begin + tensor("0", 1, (1,) * 1000) + b"u.", {"0": bytes(4)}), "a tensor of impossible sizes")
    out = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001):
        pickle.dump(part, out, 2)
    path.write_bytes(out.getvalue() + b"\x80\x02" + tensor("0", 1, (1,)) + b".")  # where torch describes itself
    refused(path, "it has a tensor where none belongs")
