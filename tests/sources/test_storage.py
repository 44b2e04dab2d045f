"""`vitzoo cache` and the mirror: what is listed is there, what is checked is read, what goes is what nobody needs."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import constants
from loopback_hub import Flipped, LoopbackHub

import vitzoo
from vitzoo.errors import WeightsError
from vitzoo.file_locks import at_work
from vitzoo.sources import pin as pinning
from vitzoo.sources import storage
from vitzoo.sources.cache import cache_folder, locked, url_path
from vitzoo.sources.failures import Mismatch
from vitzoo.sources.promise import DamagedFile

REPO = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
NAME = "vit_ti16.augreg_in21k_ft_in1k"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "x.safetensors"
    return vitzoo.save(vitzoo.create(NAME, generator=0), path, "timm").read_bytes()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("tiny") / "x.safetensors"
    return vitzoo.save(vitzoo.create("vit_nano4.cifar10", pretrained=True), path).read_bytes()


def damage(path: Path) -> None:
    """Flip the last bit of a cached file; neither its size nor its time of change show it."""
    real = path.resolve()
    stamp = real.stat()
    data = bytearray(real.read_bytes())
    data[-1] ^= 1
    real.write_bytes(data)
    os.utime(real, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_list_shows_names_sizes_and_addresses(hub: LoopbackHub, weights, tiny, run) -> None:
    assert "nothing is cached" in run("cache", "list").out
    commit = hub.add(REPO, {"model.safetensors": weights})
    address = hub.url("/x.safetensors", tiny)
    for name in ("vit_ti16", address):
        run("cache", "prefetch", name)
    listed = run("cache", "list").out
    assert f"22.9 MB  {time.strftime('%Y-%m-%d')}  {NAME}" in listed
    assert f"hf://{REPO}/model.safetensors@{commit}" in listed
    rows = json.loads(run("cache", "list", "vit_ti16", "--json").out)
    assert [row["size"] for row in rows] == [len(weights)]
    assert Path(rows[0]["path"]).read_bytes() == weights
    assert "not in the cache" in run("cache", "list", "vit_h14").err


def test_names_of_what_is_cached(hub: LoopbackHub, tiny, run) -> None:
    """By its address, also where no entry of the registry has it; a name that is not there is never passed over."""
    address = hub.url("/x.safetensors", tiny)
    new = hub.add("org/repo", {"model.safetensors": tiny, "other.safetensors": tiny}, branch="next")
    main = hub.add("org/repo", {"model.safetensors": tiny})
    files = ["hf://org/repo/model.safetensors", "hf://org/repo/other.safetensors@next"]
    assert run("cache", "prefetch", address, *files, "hf-hub:org/repo@next").code == 0

    def listed(*names: str) -> list[str]:
        return [row["address"] for row in json.loads(run("cache", "list", "--json", *names).out)]

    assert listed(files[0]) == sorted(f"{files[0]}@{commit}" for commit in (main, new))
    assert listed(files[1]) == [f"hf://org/repo/other.safetensors@{new}"]
    assert listed("hf-hub:org/repo@next") == [f"hf://org/repo/{name}.safetensors@{new}" for name in ("model", "other")]
    assert len(listed("hf-hub:org/repo")) == 3
    assert [Path(path).name for path in listed(f"{address}#sha256={'0' * 64}")] == ["x.safetensors"]
    assert "hf-hub:org/none: not in the cache" in run("cache", "list", "hf-hub:org/repo", "hf-hub:org/none").err
    assert "did you mean" in run("cache", "prune", "vit_b17").err
    shown = run("cache", "prune", "--dry-run", files[1], "hf-hub:org/repo@next", address).out.splitlines()
    assert shown == [f"hf://org/repo@{new}", str(storage.cached([address])[0].path)]
    run("cache", "prune", files[1], address)
    assert listed() == [f"{files[0]}@{main}"]


def test_a_damaged_file_of_two_commits(hub: LoopbackHub, tiny, run) -> None:
    """It is one file on the disk; put aside it is gone from both, and the repository is still listed."""
    for branch in ("main", "next"):
        hub.add("org/repo", {"model.safetensors": tiny, "notes.md": branch.encode()}, branch=branch)
        run("cache", "prefetch", f"hf://org/repo/model.safetensors@{branch}")
    run("cache", "prefetch", "hf://org/repo/notes.md")
    damage(storage.cached()[0].path)
    checked = run("cache", "verify", "--json")
    assert checked.code == 1
    assert [row["state"] for row in json.loads(checked.out)] == ["damaged", "damaged"]
    assert storage.cached() == []
    fetched = json.loads(run("cache", "prefetch", "--json", "hf://org/repo/model.safetensors").out)
    assert [Path(one["path"]).read_bytes() for one in fetched] == [tiny]
    assert len(storage.cached()) == 1


def test_verify_knows_a_download_without_a_digest_from_its_first_check(hub: LoopbackHub, tiny, run) -> None:
    run("cache", "prefetch", hub.url("/x.safetensors", tiny))
    assert run("cache", "verify").out.startswith("ok  ")
    damage(storage.cached()[0].path)
    assert run("cache", "verify").out.startswith("damaged  ")


def test_a_mirror_that_cannot_be_written(hub: LoopbackHub, tiny, run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    failed = run("cache", "prefetch", hub.url("/x.safetensors", tiny), "--mirror", tmp_path / "file")
    assert (failed.code, len(failed.err.splitlines())) == (2, 1)
    assert "file cannot be written: " in failed.err


def test_a_record_that_cannot_be_read_is_tidied_up(hub: LoopbackHub, tiny, run) -> None:
    run("cache", "prefetch", hub.url("/x.safetensors", tiny))
    (record,) = (Path(constants.HF_HOME) / "vitzoo" / "digests").iterdir()
    record.write_text("{")
    assert run("cache", "prune").out.startswith(str(record))
    assert not record.exists()


def test_verify_finds_damage_that_size_and_time_do_not_show(hub: LoopbackHub, weights, run) -> None:
    hub.add(REPO, {"model.safetensors": weights})
    vitzoo.create("vit_ti16", pretrained=True)
    assert run("cache", "verify").out.startswith("ok  hf://timm/")
    damage(storage.cached()[0].path)
    checked = run("cache", "verify", "--json")
    assert checked.code == 1
    assert json.loads(checked.out)[0]["state"] == "damaged"
    hub.clear()
    vitzoo.create("vit_ti16", pretrained=True)  # it is out of the way, and fetched again
    assert hub.count("GET", "*.safetensors") == 1
    assert run("cache", "verify").code == 0


def test_create_notices_damage_that_the_time_of_change_shows(hub: LoopbackHub, weights) -> None:
    hub.add(REPO, {"model.safetensors": weights})
    vitzoo.create("vit_ti16", pretrained=True)
    path = storage.cached()[0].path
    damage(path)
    os.utime(path.resolve())
    hub.clear()
    with pytest.warns(DamagedFile, match=r"put aside as .*quarantine"):
        vitzoo.create("vit_ti16", pretrained=True)
    assert hub.count("GET", "*.safetensors") == 1
    assert storage.cached()[0].path.read_bytes() == weights


def test_prune_takes_leftovers_and_old_commits_and_nothing_else(hub: LoopbackHub, weights, tiny, run) -> None:
    hub.add(REPO, {"model.safetensors": weights})
    hub.add("org/repo", {"model.safetensors": tiny})
    vitzoo.create("hf-hub:org/repo")
    hub.fault(Flipped(), path="*.safetensors")
    with pytest.warns(DamagedFile):
        vitzoo.create("vit_ti16", pretrained=True)
    old = storage.cached(["vit_ti16"])[0].address.rpartition("@")[2]
    new = bytearray(weights)
    new[-1] ^= 1
    hub.add(REPO, {"model.safetensors": bytes(new)})
    vitzoo.create("vit_ti16", pretrained=True)
    shown = run("cache", "prune", "--dry-run").out
    assert len(shown.splitlines()) == 2
    assert old in shown
    assert "quarantine" in shown
    assert run("cache", "prune").out.startswith(shown)
    assert run("cache", "prune").out == "nothing to delete\n"
    assert {row.size for row in storage.cached()} == {len(weights), len(tiny)}
    run("cache", "prune", "vit_ti16")
    assert [row.size for row in storage.cached()] == [len(tiny)]


@pytest.mark.proves(guarantee="Threads and processes do not meet", against="what a download left off, and one at work")
def test_prune_knows_what_was_left_off_and_what_is_being_written(hub: LoopbackHub, tiny, run) -> None:
    """By locks: no clock tells them apart, and what SIGTERM ended a moment ago goes at once."""
    address, cache = hub.url("/x.safetensors", tiny), Path(constants.HF_HUB_CACHE)
    blobs, urls = cache / "models--a--b" / "blobs", url_path(address).parent
    part, orphan, mine = blobs / "1.a.incomplete", blobs / "2", urls / "x.safetensors.partial"
    record = cache_folder() / "digests" / ".x.json.3.partial"
    for path in (part, orphan, mine, record):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"part")
    locks = [cache / ".locks" / "models--a--b" / f"{n}.lock" for n in (1, 2)]
    locks[0].parent.mkdir(parents=True)
    with locked(address), FileLock(locks[0]), FileLock(locks[1]), at_work(record):
        for path in (part, orphan, mine, record):
            os.utime(path, (0, 0))
        assert run("cache", "prune").out == "nothing to delete\n"
        storage.remove([], [part, orphan, mine, record])
        assert all(path.exists() for path in (part, orphan, mine, record))
    shown = run("cache", "prune").out.splitlines()
    assert shown[:-1] == sorted(map(str, (part, orphan, mine, record)))
    assert shown[-1] == "16 B freed"
    assert not any(path.exists() for path in (part, orphan, mine, record))


def test_prune_keeps_the_commits_of_the_lock(hub: LoopbackHub, weights, run) -> None:
    hub.add(REPO, {"model.safetensors": weights})
    pinning.pin([NAME], Path("vitzoo.lock"))
    run("cache", "prefetch", NAME)
    assert run("cache", "prune").out == "nothing to delete\n"
    Path("vitzoo.lock").unlink()
    assert NAME.partition(".")[2] in run("cache", "prune").out


def test_a_mirror_serves_offline_and_its_sums_are_those_of_sha256sum(
    hub: LoopbackHub, weights, tiny, run, monkeypatch, tmp_path: Path
) -> None:
    hub.add(REPO, {"model.safetensors": weights})
    hub.add("org/repo", {"model.safetensors": tiny, "config.json": b"{}"})
    address = hub.url("/files/x.safetensors", tiny)
    mirror = tmp_path / "mirror"
    names = ("vit_ti16", "hf-hub:org/repo", address, "vit_nano4.cifar10")
    assert run("cache", "prefetch", *names, "--mirror", mirror).code == 0
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=mirror, check=True)
    hub.clear()
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "elsewhere" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="not in the cache"):
        vitzoo.create("vit_ti16", pretrained=True)
    monkeypatch.setenv("VITZOO_MIRROR", str(mirror))
    for name in names:
        model = vitzoo.create(name, pretrained=True)
        assert any(str(mirror) in line or "bundled" in line for line in model.load_report.because)
    assert hub.requests == []


def test_a_mirror_with_other_bytes_is_not_believed(hub: LoopbackHub, tiny, run, monkeypatch, tmp_path: Path) -> None:
    hub.add("org/repo", {"model.safetensors": tiny})
    mirror = tmp_path / "mirror"
    run("cache", "prefetch", "hf://org/repo/model.safetensors", "--mirror", mirror)
    copy = mirror / "hf/org/repo/model.safetensors"
    damage(copy)
    os.utime(copy)
    monkeypatch.setenv("VITZOO_MIRROR", str(mirror))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    with pytest.raises((Mismatch, WeightsError), match=r"SHA256SUMS promises: sha256 .* was expected"):
        vitzoo.create("hf://org/repo/model.safetensors")
    assert copy.exists()  # it is somebody else's folder
    monkeypatch.setenv("VITZOO_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="is not a folder; mount it, correct the path"):
        vitzoo.create("hf://org/repo/model.safetensors")


def test_a_killed_save_leaves_a_hidden_part_that_a_later_one_removes(tmp_path: Path) -> None:
    target, model = tmp_path / "model.safetensors", vitzoo.create("vit_nano4.cifar10", pretrained=True)
    for name in (".model.safetensors.1.partial", ".model.safetensors.index.json.2.partial"):
        (tmp_path / name).write_bytes(b"part")
    vitzoo.save(model, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]
