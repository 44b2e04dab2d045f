"""Commands that are killed at a random moment: what is there is the old or the new, and the next one works.

pytest tests/kills                                  a few kills of each kind, at moments that are always the same
VITZOO_KILLS=200 pytest tests/kills -s              as many of each kind
"""

import json
import os
import random
import select
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session
from probe import FILE, NAME, REPO, Bench, bench, checkpoint, is_probe

import vitzoo
from vitzoo.files.digest import hash_file
from vitzoo.sources import storage
from vitzoo.sources.lock import read_lock
from vitzoo.sources.mirror import sums
from vitzoo.sources.pin import pin

KILLS = int(os.environ.get("VITZOO_KILLS", "2"))
SHARD = 20_000  # bytes; the probe has four shards


@pytest.fixture
def b(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    monkeypatch.setenv("VITZOO_LOCK", "")
    with bench(monkeypatch, tmp_path / "home") as found:
        yield found


def forked(work: Callable[[], object]) -> int:
    """A process of its own group that does some work, in silence."""
    close_session()
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        try:
            work()
        finally:
            os._exit(0)
    return child


def seconds(work: Callable[[], object]) -> float:
    child, start = forked(work), time.monotonic()
    os.waitpid(child, 0)
    return time.monotonic() - start


def often_killed(work: Callable[[], object], check: Callable[[], object], before: Callable[[], object]) -> None:
    """Begin some work, kill it at a moment between its begin and its end, and look at what is there; many times."""
    dice, hits, late, times = random.Random(0), 0, 0, []
    for _ in range(3):  # the first is the slowest: it imports
        before()
        times.append(seconds(work))
    while hits < KILLS:
        before()
        child = forked(work)
        select.select([], [], [], dice.uniform(0, min(times)))
        hit = killed(child)
        hits, late = hits + hit, late + (not hit)
        assert late < 10 * KILLS
        check()
    print(f"{hits} kills within {min(times) * 1000:.0f} ms, and {late} that came too late")


def killed(child: int) -> bool:
    """End a process with all of its group; false if it had ended before."""
    ended, status = 0, 0
    while not ended:
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet, or has ended
            ended, status = os.waitpid(child, os.WNOHANG)
        else:
            ended, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def which(path: str | Path, **settings: Any) -> int:
    """Which of the two probes is there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = vitzoo.create(path, **settings)
    (found,) = (seed for seed in (0, 1) if is_probe(model, seed))
    return found


@pytest.mark.proves(promise="Nothing half done is visible", against="saves killed at random moments")
@pytest.mark.parametrize("name", ["x.safetensors", "x.safetensors.index.json", "x.pth"])
def test_save_over_another(b: Bench, name: str) -> None:
    path = Path("saved", name)
    place = path.with_name(name.removesuffix(".index.json"))
    layout, shards = ("timm", None) if path.suffix == ".pth" else ("vitzoo", SHARD if place != path else None)
    models = [vitzoo.create(probe(Path(f"{seed}.safetensors"), seed)) for seed in (0, 1)]
    told = {"like": NAME} if layout == "timm" else {}

    def save(seed: int) -> None:
        vitzoo.save(models[seed], place, layout, shard_size=shards)

    save(0)
    seen = {0}

    def check() -> None:
        seen.add(which(path, **told))
        seen.add(which(path, eager=True, **told))

    often_killed(lambda: save(1), check, lambda: save(0))
    save(1)
    assert which(path, **told) == 1
    assert not [one for one in path.parent.iterdir() if one.name.endswith(".partial")]
    assert len(list(path.parent.iterdir())) == (1 if shards is None else 1 + len(shards_of(path)))


def shards_of(index: Path) -> set[str]:
    return set(json.loads(index.read_text())["weight_map"].values())


def probe(path: Path, seed: int) -> Path:
    path.write_bytes(checkpoint(seed))
    return path


@pytest.mark.proves(promise="Nothing half done is visible", against="conversions killed at random moments")
@pytest.mark.parametrize("target", ["x.pth", "folder"])
def test_convert(b: Bench, target: str) -> None:
    """Over a file, and into a folder that must be new."""
    sources = [probe(Path(f"{seed}.safetensors"), seed) for seed in (0, 1)]
    path, folder = Path("converted", target), target == "folder"

    def before() -> None:
        shutil.rmtree("converted") if folder and path.exists() else None
        folder or vitzoo.convert(sources[0], path, layout="timm")

    def check() -> None:
        if not folder or path.exists():
            which(path, like=NAME)

    often_killed(lambda: vitzoo.convert(sources[1], path, layout="timm"), check, before)
    before()
    vitzoo.convert(sources[1], path, layout="timm")
    assert which(path, like=NAME) == 1
    assert [one.name for one in path.parent.iterdir()] == [target]


@pytest.mark.proves(promise="Nothing half done is visible", against="pins killed at random moments")
def test_pin(b: Bench) -> None:
    """What was pinned stays pinned, and nobody waits for a lock that a dead process held."""
    for number in range(3):
        b.hub.add(f"org/r{number}", {FILE: checkpoint(), "config.json": b"{}"})
    path, names = Path("own.lock"), [f"hf-hub:org/r{number}" for number in range(3)]

    def before() -> None:
        path.unlink(missing_ok=True)
        pin(names[:1], path)

    def check() -> None:
        found = read_lock(path).entries
        assert names[0] in found
        assert all(len(one.files) == 2 for one in found.values())

    often_killed(lambda: [pin([name], path) for name in names], check, before)
    pin(names, path)
    assert sorted(read_lock(path).entries) == names


@pytest.mark.proves(promise="Nothing half done is visible", against="prune and prefetch, likewise")
def test_prefetch_into_a_mirror(b: Bench) -> None:
    """What SHA256SUMS names is there and is right, and what was listed before still is."""
    b.hub.add("org/folder", {FILE: checkpoint(), "config.json": b"{}"})
    names, mirror = [NAME, "hf-hub:org/folder"], Path("mirror")

    def before() -> None:
        for folder in ("hub", "vitzoo", "mirror"):
            shutil.rmtree(folder, ignore_errors=True)
        storage.prefetch(b.hub.url("/x.safetensors", checkpoint()), mirror)

    def check() -> None:
        found = sums(mirror)
        assert any(place.startswith("url/") for place in found)
        assert all(hash_file(mirror / place) == digest for place, digest in found.items())
        assert is_probe(b.create())

    often_killed(lambda: [storage.prefetch(name, mirror) for name in names], check, before)
    for name in names:
        storage.prefetch(name, mirror)
    assert len(sums(mirror)) == 4
    assert not [path for path in mirror.rglob("*") if path.name.endswith(".partial")]


@pytest.mark.proves(promise="Nothing half done is visible", against="prune and prefetch, likewise")
def test_prune(b: Bench) -> None:
    """What stays serves offline, and what was half removed is removed the next time."""

    def before() -> None:
        b.offline(False)
        for _ in range(2):
            b.hub.add(REPO, {FILE: checkpoint(1), "x": os.urandom(8)})
            b.create()
        b.hub.add(REPO, {FILE: checkpoint()})
        b.create()
        (b.home / "hub" / "models--org--probe" / "blobs" / "1.x.incomplete").write_bytes(b"part")

    def prune() -> None:
        storage.remove(storage.old_commits(), storage.leftovers())

    def check() -> None:
        b.offline()
        assert is_probe(b.create())
        prune()
        assert is_probe(b.create())
        assert storage.leftovers() == storage.old_commits() == []
        b.offline(False)

    often_killed(prune, check, before)


@pytest.mark.proves(promise="Nothing half done is visible", against="uploads killed at random moments")
def test_push(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository holds the old model or the new one."""
    monkeypatch.setenv("TMPDIR", str(b.home))
    b.hub.user("ann", "hf_ann")
    models = [vitzoo.create(probe(Path(f"{seed}.safetensors"), seed)) for seed in (0, 1)]

    def push(seed: int) -> None:
        vitzoo.push(models[seed], "ann/probe", license="mit", token="hf_ann")

    def check() -> None:
        shutil.rmtree(b.home / "hub", ignore_errors=True)
        which("hf-hub:ann/probe")
        files = b.hub.files("ann/probe")
        assert {FILE, "README.md"} <= files.keys()

    often_killed(lambda: push(1), check, lambda: push(0))
    push(1)
    assert which("hf-hub:ann/probe") == 1
