"""What a file must be, how much may come, and what is remembered: each rule by itself."""

import json
import os
import threading
from pathlib import Path

import pytest
from loopback_hub import LoopbackHub

import vitzoo
from vitzoo.errors import WeightsError
from vitzoo.sources import cache, flow, storage
from vitzoo.sources.cache import locked, recorded, sha256_of
from vitzoo.sources.failures import Mismatch, Unreachable
from vitzoo.sources.pin import pin
from vitzoo.sources.promise import Promise

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("one", "other", "wrong"),
    [
        (Promise(size=1), Promise(size=2), True),
        (Promise(size=0), Promise(size=2), True),
        (Promise(size=1), Promise(size=1), False),
        (Promise(size=1), Promise(), False),
        (Promise(A), Promise(A[:8]), False),
        (Promise(A), Promise(B), True),
        (Promise(A[:8], size=1), Promise(A, size=2), True),
    ],
)
def test_what_no_file_can_keep(one: Promise, other: Promise, wrong: bool) -> None:
    assert one.contradicts(other) == other.contradicts(one) == wrong


def test_two_promises_are_one() -> None:
    both = Promise(A[:8], size=0) & Promise(A, "c" * 40, 5, afresh=True)
    assert both == Promise(A, "c" * 40, 0, afresh=True)
    assert Promise() & Promise() == Promise()


def test_a_flow_has_an_end_and_a_least_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(flow.time, "monotonic", lambda: now[0])
    exact = flow.Flow("x", 10)
    exact.add(10)
    with pytest.raises(Mismatch, match="10 bytes were expected, and the server sends more"):
        exact.add(1)
    slow = flow.Flow("x", None)
    enough = int(flow.SLOWEST * flow.WINDOW)
    for _ in range(3):  # of each window, not of the whole
        now[0] += flow.WINDOW + 1
        slow.add(enough)
    now[0] += flow.WINDOW + 1
    with pytest.raises(Unreachable, match="only 59,999 bytes came in 60 seconds"):
        slow.add(enough - 1)
    with pytest.raises(Mismatch):
        flow.Flow("x", None).add(flow.LARGEST + 1)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    return path


def test_a_record_is_of_one_size_and_one_time(file: Path) -> None:
    first, times = sha256_of(file), file.stat().st_mtime_ns
    assert recorded(file) == first
    file.write_bytes(b"abcd")
    os.utime(file, ns=(times, times))
    assert recorded(file) is None
    assert sha256_of(file) != first
    file.write_bytes(b"abc")
    os.utime(file, ns=(times, times + 1))
    assert recorded(file) is None
    assert sha256_of(file) == first


def test_what_changes_while_it_is_read_is_not_recorded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cache.hash_file

    def hashed(path: Path) -> str:
        found = whole(path)
        path.write_bytes(b"others, meanwhile")
        return found

    monkeypatch.setattr(cache, "hash_file", hashed)
    sha256_of(file)
    assert recorded(file) is None


def test_one_at_a_time_writes_into_a_mirror(hub: LoopbackHub, tmp_path: Path) -> None:
    """Else a line of SHA256SUMS that another has just written would be lost."""
    mirror = tmp_path / "mirror"
    address = hub.url("/x.safetensors", b"some bytes")
    storage.prefetch(address)
    other = threading.Thread(target=storage.prefetch, args=(address, mirror))
    with locked(str(mirror.resolve())):
        other.start()
        other.join(0.5)
        assert other.is_alive()
        assert not mirror.exists()
    other.join(30)
    assert (mirror / "SHA256SUMS").is_file()


@pytest.mark.parametrize("how", ["taken out", "put in"])
def test_a_repository_and_its_lock_name_the_same_files(
    hub: LoopbackHub, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = vitzoo.save(vitzoo.create("vit_nano4.cifar10", pretrained=True), tmp_path / "out.safetensors")
    hub.add("org/repo", {"model.safetensors": path.read_bytes(), "config.json": b"{}"})
    lock = tmp_path / "vitzoo.lock"
    pin(["hf-hub:org/repo"], lock)
    found = json.loads(lock.read_text())
    files = found["entries"]["hf-hub:org/repo"]["files"]
    if how == "taken out":
        files[:] = [one for one in files if one["file"] != "config.json"]
        said = "config.json is not among the files of the lock"
    else:
        files.append({**files[0], "file": "more.json"})
        said = "more.json is in the lock, and is not beside"
    lock.write_text(json.dumps(found))
    monkeypatch.setenv("VITZOO_LOCK", str(lock))
    with pytest.raises(WeightsError, match=said):
        vitzoo.create("hf-hub:org/repo")
