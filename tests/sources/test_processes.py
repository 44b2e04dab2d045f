"""Many processes, processes that are killed, disks that are full or may not be written, and a soak."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from loopback_hub import Flipped, Hanging, LoopbackHub, Slow, Unmeasured
from probe import FILE, NAME, REPO, WEIGHTS, Bench, bench, checkpoint, flip, is_probe, write_registry

import vitzoo
from vitzoo.errors import WeightsError
from vitzoo.sources.cache import url_path

SOAK = int(os.environ.get("VITZOO_SOAK", "60"))
URL_FILE = "/files/probe.safetensors"
HERE = Path(__file__).parents[1:3]
DIGEST = hashlib.sha256(checkpoint()).hexdigest()


@pytest.fixture
def b(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    with bench(monkeypatch, tmp_path / "home") as found:
        yield found


def environment(hub: LoopbackHub, home: Path, *sources: dict[str, Any], token: str | None = None) -> dict[str, str]:
    """Of a process that knows this hub, this folder and the entry `vit_probe.hub` alone."""
    home.mkdir(parents=True, exist_ok=True)
    variables = hub.environment(home, token)
    for name in ("VITZOO_CACHE", "VITZOO_LOCK", "VITZOO_MIRROR"):
        variables.pop(name, None)
    registry = str(write_registry(home.parent / "registry.yaml", *sources))
    return variables | {"VITZOO_REGISTRY": registry, "PYTHONPATH": os.pathsep.join(map(str, HERE))}


def python(code: str, hub: LoopbackHub, home: Path, *sources: dict[str, Any], **settings: Any) -> str:
    """What a process prints; its errors fail the test."""
    env = environment(hub, home, *sources, token=settings.pop("token", None))
    run = subprocess.run(
        [*settings.pop("before", ()), sys.executable, "-c", code],
        env=env,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        **settings,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def started(code: str, hub: LoopbackHub, home: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code], env=environment(hub, home), cwd=home)


def wait(what: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    """Until something holds (the bench has replaced `time.sleep`); a process that ends before it fails the test."""
    deadline, tick = time.monotonic() + 60, threading.Event()
    while not what():
        assert process.poll() is None, f"the process ended with {process.returncode}"
        assert time.monotonic() < deadline
        tick.wait(0.02)


def killed(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.proves(promise="One download", against="2 and 16 processes at once (4 for an address): one GET")
@pytest.mark.parametrize(("kind", "count"), [("hub", 2), ("hub", 16), ("url", 4)])
def test_many_processes_download_once(tmp_path: Path, kind: str, count: int) -> None:
    with LoopbackHub() as hub:
        hub.add(REPO, {FILE: checkpoint()})
        source = {"repo": REPO} if kind == "hub" else {"kind": "url", "url": hub.url(URL_FILE, checkpoint())}
        hub.fault(Slow(2e5), path=f"*{URL_FILE if kind == 'url' else FILE}")  # so that the others come meanwhile
        code = f"from probe import race; race({count})"
        assert python(code, hub, tmp_path / "home", source) == f"{count}\n"
        assert hub.count("GET") == 1
        assert hub.count("HEAD") == (count + 1 if kind == "hub" else 0)  # each asks for the commit, and the client once


@pytest.mark.proves(promise="What you set is obeyed", against="`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`")
def test_environment_is_honoured(tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE, as a user sets them."""
    code = f"""if True:
        import os, vitzoo
        from probe import is_probe
        os.environ["HF_HUB_OFFLINE"] = "0"
        print(is_probe(vitzoo.create("{NAME}", pretrained=True)))
    """
    home = tmp_path / "home"
    with LoopbackHub() as hub:
        hub.add(REPO, {FILE: checkpoint()})
        hub.gate(REPO, "hf_granted")
        assert python(code, hub, home, token="hf_granted") == "True\n"
        assert hub.count("GET") == 1
        blobs = (home / "hub").glob("models--org--probe/blobs/*")
        assert [path.name for path in blobs] == [DIGEST]
        assert len(list((home / "vitzoo" / "digests").iterdir())) == 1
        hub.clear()
        cli = "import sys; sys.argv[1:] = ['cache', 'verify']; from vitzoo.cli import main; main()"
        assert python(cli, hub, home).startswith(f"ok  hf://{REPO}/{FILE}@")
        assert hub.requests == []


@pytest.mark.proves(
    promise="Nothing half done is visible",
    against="kill -9 in a download (the next one goes on with a part from a web address), in a save",
)
class TestKilled:
    def test_download_from_the_hub(self, b: Bench) -> None:
        """The client leaves its part under a name that nobody takes for the file; `prune` takes it away."""
        from vitzoo.sources.storage import leftovers

        b.hub.fault(Hanging(0.5), path=WEIGHTS)
        process = started(f"import vitzoo; vitzoo.create('{NAME}', pretrained=True)", b.hub, b.home)
        wait(lambda: b.hub.count("GET", WEIGHTS), process)
        assert b.leftovers()
        assert leftovers() == []  # the process is at work
        killed(process)
        assert not [path for path in (b.home / "hub").rglob("*") if path.suffix == ".safetensors"]
        b.asked()
        assert is_probe(b.create())
        assert b.asked() == ["HEAD", "HEAD", "GET"]
        assert b.blob().read_bytes() == checkpoint()
        assert leftovers() == b.leftovers() != []

    @pytest.mark.parametrize("changed", [False, True])
    def test_download_from_an_address(self, b: Bench, changed: bool) -> None:
        """The next one goes on with the part, unless the server has another file by now."""
        from vitzoo.sources.download import url_file

        old, new = (random.Random(seed).randbytes(3 << 20) for seed in (0, 1))
        address = b.hub.url("/files/large.bin", old)
        b.hub.fault(Hanging(0.9), path="/files/large.bin")
        process = started(f"from vitzoo.sources.download import url_file; url_file('{address}')", b.hub, b.home)
        partial = url_path(address).with_name("large.bin.partial")
        wait(lambda: partial.is_file() and partial.stat().st_size >= 2 << 20, process)
        killed(process)
        have = partial.stat().st_size
        assert not url_path(address).exists()
        if changed:
            b.hub.url("/files/large.bin", new)
        b.hub.requests.clear()
        assert url_file(address).path.read_bytes() == (new if changed else old)
        assert [(r.range, r.status) for r in b.hub.requests] == [(f"bytes={have}-", 200 if changed else 206)]
        assert b.leftovers() == []

    @pytest.mark.parametrize("exists", [False, True])
    def test_save(self, b: Bench, exists: bool) -> None:
        """At the last moment before the rename: the old file is whole, or there is none."""
        path = b.home / "mine.safetensors"
        if exists:
            path.write_bytes(checkpoint(1))
        model = b.create()
        (b.home / "source.safetensors").write_bytes(checkpoint())
        code = """if True:
            import os, pathlib, time, vitzoo
            os.fsync = lambda descriptor: (pathlib.Path("reached").touch(), time.sleep(600))
            vitzoo.save(vitzoo.create("source.safetensors"), "mine.safetensors")
        """
        process = started(code, b.hub, b.home)
        wait((b.home / "reached").exists, process)
        killed(process)
        assert path.exists() == exists
        if exists:
            assert is_probe(vitzoo.create(path), 1)
        assert is_probe(vitzoo.create(vitzoo.save(model, path)))

    def test_save_of_a_folder(self, b: Bench) -> None:
        (b.home / "source.safetensors").write_bytes(checkpoint())
        code = """if True:
            import os, pathlib, time, vitzoo
            os.fsync = lambda descriptor: (pathlib.Path("reached").touch(), time.sleep(600))
            vitzoo.save(vitzoo.create("source.safetensors"), "mine", "timm")
        """
        process = started(code, b.hub, b.home)
        wait((b.home / "reached").exists, process)
        killed(process)
        assert not (b.home / "mine").exists()
        model = vitzoo.create(vitzoo.save(b.create(), b.home / "mine", "timm"), like=NAME)
        assert is_probe(model)


def mounts() -> bool:
    """Whether a process here may have mounts of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode == 0


needs_mounts = pytest.mark.skipif(not mounts(), reason="needs user namespaces (unshare -Urm)")

TRY = """if True:
    import pathlib, sys, warnings, vitzoo
    from probe import is_probe
    warnings.simplefilter("ignore")
    for name in sys.argv[1:]:
        try:
            print(is_probe(vitzoo.create(name, pretrained=True)))
        except vitzoo.errors.VitzooError as error:
            print(type(error).__name__, error)
"""


@pytest.mark.proves(promise="One line", against="a real small disk")
@needs_mounts
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A real one, of 48 kB: known beforehand, or met on the way where no length was announced."""
    home = tmp_path / "home"
    home.mkdir()
    full = ["unshare", "-Urm", "sh", "-c", f'mount -t tmpfs -o size=48k none {home} && cd {home} && exec "$@"', "sh"]
    with LoopbackHub() as hub:
        hub.add(REPO, {FILE: checkpoint()})
        address = hub.url(URL_FILE, checkpoint())
        code = TRY.replace("sys.argv[1:]", repr([NAME, address] * 2)) + AFTERWARDS
        hub.fault(Unmeasured(1.0), method="*", path="*.safetensors", times=None)
        *lines, left, saved = python(code, hub, home, before=full).splitlines()
        assert len(lines) == 4
        assert all("the disk is full" in line and "`vitzoo cache prune`" in line for line in lines), lines
        assert re.fullmatch(r"left: \[\S+/probe.safetensors.partial'\)\]", left)  # to go on with
        assert re.fullmatch("WeightsError mine.safetensors cannot be written: No space left on .*", saved)
        hub.clear()
        *lines, left, saved = python(code, hub, home, before=full).splitlines()
        assert all(f"{len(checkpoint()):,} bytes are needed" in line for line in lines), lines
        assert (left, hub.count("GET", WEIGHTS)) == ("left: []", 0)


AFTERWARDS = """
    from probe import SPEC
    parts = [p for p in pathlib.Path().rglob("*") if p.suffix in (".incomplete", ".safetensors") or "part" in p.suffix]
    print("left:", parts)
    try:
        vitzoo.save(vitzoo.create(SPEC), "mine.safetensors")
    except Exception as error:
        print(type(error).__name__, error)
    assert not list(pathlib.Path().glob("*mine*"))
"""


@pytest.mark.proves(promise="One line", against="a cache that may not be written, complete or not")
@needs_mounts
def test_a_disk_that_may_not_be_written(tmp_path: Path) -> None:
    """A complete cache serves from a read-only mount, online and offline; what is missing is one clear line."""
    home = tmp_path / "home"
    with LoopbackHub() as hub:
        hub.add(REPO, {FILE: checkpoint()})
        address = hub.url(URL_FILE, checkpoint())
        names = [NAME, address]
        code = TRY.replace("sys.argv[1:]", repr(names))
        assert python(code, hub, home).split() == ["True", "True"]
        hub.clear()
        other = [f"hf://org/other/{FILE}", address + "?other"]
        hub.add("org/other", {FILE: checkpoint(1)})
        code = TRY.replace("sys.argv[1:]", repr([*names, *other]))
        mount = f'mount --bind {home} {home} && mount -o remount,ro,bind {home} && cd {home} && exec "$@"'
        before = ["unshare", "-Urm", "sh", "-c", mount, "sh"]
        first, second, *denied = python(code, hub, home, before=before).splitlines()
        assert (first, second, len(denied)) == ("True", "True", 2)
        # Of the one that is cached, of the other, and of the card that may say its licence.
        assert [r.method for r in hub.requests] == ["HEAD"] * 3
        assert all("no permission for" in line and "set HF_HOME to a folder of your own" in line for line in denied), (
            denied
        )


@pytest.mark.proves(
    promise="The bytes are the right ones", against="faults at random, moved branches, damaged and emptied caches"
)
@pytest.mark.proves(
    claim="downloads under faults: cut, flipped, moved, gated, full disk, killed; many processes",
    against="huggingface_hub against a server that misbehaves",
    tolerance="the right model or one line",
)
def test_soak(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many creates under faults at random, and not one wrong model (VITZOO_SOAK=1000 for the long one)."""
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    dice, right, version, errors = random.Random(0), 0, 0, list[str]()
    b.sources({"repo": REPO}, {"kind": "url", "url": b.hub.url(URL_FILE, checkpoint()), "sha256": DIGEST})
    b.hub.random_faults(0.3, seed=0)
    begin = time.monotonic()
    for _ in range(SOAK):
        match dice.choice(["keep", "keep", "empty", "move", "damage"]):
            case "empty":
                shutil.rmtree(b.home / "hub", ignore_errors=True)
                shutil.rmtree(b.home / "vitzoo", ignore_errors=True)
            case "move":
                version = 1 - version
                b.hub.add(REPO, {FILE: checkpoint(version)})
            case "damage":
                for path in (b.home / "hub").glob("models--*/blobs/*"):
                    flip(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = b.create(dice.choice([NAME, f"hf://{REPO}/{FILE}"]))
        except WeightsError as error:
            errors.append(str(error))
            continue
        # The hub's current file, the last verified one where the hub gave no answer, or the pinned one of the address.
        report = str(model.load_report)
        seed = next(seed for seed in (0, 1) if hashlib.sha256(checkpoint(seed)).hexdigest() in report)
        assert is_probe(model, seed), f"a wrong model, said to be {report}"
        assert seed == version or "was used, since" in report or "before it:" in report
        right += 1
    print(
        f"{SOAK} creates, {len(b.hub.requests)} requests, {sum(bool(r.faults) for r in b.hub.requests)} with a fault: "
    )
    print(f"{right} right, {len(errors)} errors, 0 wrong; {time.monotonic() - begin:.0f} s")
    assert not any("\n" in error for error in errors)
    assert right > SOAK / 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.proves(guarantee="Threads and processes do not meet", against="8 threads that create under random faults")
def test_soak_with_threads(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same by threads at once, which also empty and move what the others use."""
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.5)
    b.hub.add("org/folder", {FILE: checkpoint(), "config.json": b"{}"})
    names = [NAME, f"hf://{REPO}/{FILE}", "hf-hub:org/folder", b.hub.url(URL_FILE, checkpoint())]
    b.hub.random_faults(0.1, seed=0)
    right, failures, foreign = [0] * 8, list[str](), list[BaseException]()

    def creates(number: int) -> None:
        dice = random.Random(number)
        for _ in range(max(1, SOAK // 8)):
            match dice.choice(["keep"] * 8 + ["empty", "move"]):
                case "empty":
                    shutil.rmtree(b.home / dice.choice(["hub", "vitzoo/urls"]), ignore_errors=True)
                case "move":
                    b.hub.add(REPO, {FILE: checkpoint(dice.choice([0, 1]))})
            try:
                model = b.create(dice.choice(names))
                report = str(model.load_report)
                seed = next(seed for seed in (0, 1) if hashlib.sha256(checkpoint(seed)).hexdigest() in report)
                assert is_probe(model, seed), f"a wrong model, said to be {report}"
                right[number] += 1
            except WeightsError as error:
                failures.append(str(error))
            except BaseException as error:
                foreign.append(error)

    begin = time.monotonic()
    in_threads(creates, 8)
    print(f"{sum(right)} right, {len(failures)} errors, {len(foreign)} wrong; {time.monotonic() - begin:.0f} s")
    print(*sorted(set(failures)), sep="\n")
    assert foreign == []
    assert sum(right) > SOAK / 2


def in_threads(work: Callable[[int], None], count: int) -> None:
    """So many threads that begin at once, each with its number."""
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.proves(promise="One download", against="64 threads at once: one GET")
@pytest.mark.filterwarnings("error")
def test_many_threads_download_once(b: Bench) -> None:
    b.hub.fault(Slow(2e5), path=WEIGHTS)
    right = list[int]()
    in_threads(lambda number: right.append(number) if is_probe(b.create()) else None, 64)
    assert len(right) == 64
    assert b.hub.count("GET", WEIGHTS) == 1
    assert b.leftovers() == []


@pytest.mark.proves(promise="The bytes are the right ones", against="control of the soak")
def test_without_the_check_the_soak_finds_wrong_models(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the soak."""
    from vitzoo.sources.promise import Promise

    monkeypatch.setattr(Promise, "broken", lambda promise, path: None if path.is_file() else "it is not there")
    b.hub.random_faults(1, seed=0, among=(Flipped(-1), Flipped(-9)), method="GET")
    assert not is_probe(b.create())
