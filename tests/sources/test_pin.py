"""`vitzoo.lock`: exactly the pinned bytes, or an error; what has changed is shown."""

import contextlib
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from loopback_hub import LoopbackHub

import vitzoo
from vitzoo.errors import WeightsError
from vitzoo.sources import pin as pinning
from vitzoo.sources.failures import Mismatch
from vitzoo.sources.lock import Pin, read_lock

REPO = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
NAME = "vit_ti16.augreg_in21k_ft_in1k"
LOCK = Path("vitzoo.lock")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Two different files that NAME's entry can stand for."""
    folder = tmp_path_factory.mktemp("weights")
    return [
        vitzoo.save(vitzoo.create(NAME, generator=seed), folder / f"{seed}.safetensors", "timm").read_bytes()
        for seed in (0, 1)
    ]


@pytest.fixture
def tiny(tmp_path: Path) -> bytes:
    return vitzoo.save(vitzoo.create("vit_nano4.cifar10", pretrained=True), tmp_path / "tiny").read_bytes()


def test_a_pin_says_commit_digest_size_and_licence_without_a_download(hub: LoopbackHub, weights, run) -> None:
    commit = hub.add(REPO, {"model.safetensors": weights[0]})
    assert run("pin", "vit_ti16").code == 0
    assert hub.count("GET", "*.safetensors") == 0
    pin = read_lock(LOCK).entries[NAME]
    assert (pin.commit, pin.license, pin.source) == (commit, "apache-2.0", f"hf://{REPO}/model.safetensors")
    assert pin.files[0].sha256 == hashlib.sha256(weights[0]).hexdigest()
    assert pin.files[0].size == len(weights[0])


def test_with_a_lock_create_takes_the_pinned_bytes_though_main_has_moved(hub: LoopbackHub, weights) -> None:
    hub.add(REPO, {"model.safetensors": weights[0]})
    pinning.pin([NAME], LOCK)
    hub.add(REPO, {"model.safetensors": weights[1]})
    pinned = vitzoo.create("vit_ti16", pretrained=True)
    expected = vitzoo.create(NAME, generator=0)
    assert torch.equal(pinned.pos_embed.grid, expected.pos_embed.grid)
    LOCK.unlink()
    newest = vitzoo.create("vit_ti16", pretrained=True)
    assert not torch.equal(newest.pos_embed.grid, expected.pos_embed.grid)


def test_with_a_lock_a_cached_model_needs_no_network(hub: LoopbackHub, weights, monkeypatch) -> None:
    hub.add(REPO, {"model.safetensors": weights[0]})
    pinning.pin([NAME], LOCK)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=rf"HF_HUB_OFFLINE is set; run `vitzoo cache prefetch {NAME}`"):
        vitzoo.create(NAME, pretrained=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    vitzoo.create(NAME, pretrained=True)
    hub.clear()
    vitzoo.create(NAME, pretrained=True)  # a commit does not move: nobody is asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = vitzoo.create(NAME, pretrained=True)
    assert hub.requests == []
    assert hashlib.sha256(weights[0]).hexdigest() in model.origin


def test_other_bytes_under_the_pinned_commit_are_refused(hub: LoopbackHub, weights) -> None:
    hub.add(REPO, {"model.safetensors": weights[0]})
    pinning.pin([NAME], LOCK)
    text = LOCK.read_text().replace(hashlib.sha256(weights[0]).hexdigest(), hashlib.sha256(weights[1]).hexdigest())
    LOCK.write_text(text)
    with pytest.raises(Mismatch, match=hashlib.sha256(weights[0]).hexdigest()):
        vitzoo.create(NAME, pretrained=True)
    assert hub.count("GET", "*.safetensors") == 0  # the hub's own word was enough


def test_what_is_not_in_the_lock_is_refused(hub: LoopbackHub, weights, tiny, tmp_path: Path) -> None:
    hub.add(REPO, {"model.safetensors": weights[0]})
    hub.add("org/repo", {"model.safetensors": tiny})
    pinning.pin([NAME], LOCK)
    with pytest.raises(WeightsError, match=r"not in vitzoo.lock, .*; add it with `vitzoo pin hf-hub:org"):
        vitzoo.create("hf-hub:org/repo")
    vitzoo.create("vit_nano4.cifar10", pretrained=True)  # its digest ships in the same package
    vitzoo.create(tmp_path / "tiny.safetensors")  # a local file is what it is


@pytest.mark.parametrize("where", ["hf-hub:org/repo", "hf://org/repo/model.safetensors", "address"])
def test_repositories_and_addresses_can_be_pinned(hub: LoopbackHub, tiny: bytes, where: str) -> None:
    hub.add("org/repo", {"model.safetensors": tiny, "config.json": b"{}"})
    where = hub.url("/files/x.safetensors", tiny) if where == "address" else where
    pinning.pin([where], LOCK)
    vitzoo.create(where)
    changed = bytearray(tiny)
    changed[-1] ^= 1
    hub.add("org/repo", {"model.safetensors": bytes(changed)})
    hub.url("/files/x.safetensors", bytes(changed))
    digest = hashlib.sha256(tiny).hexdigest()
    assert digest in vitzoo.create(where).origin


def test_shards_are_pinned_one_by_one(hub: LoopbackHub, tmp_path: Path) -> None:
    model = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    index = vitzoo.save(model, tmp_path / "model.safetensors", shard_size=1_000_000)
    files = {path.name: path.read_bytes() for path in index.parent.glob("model*") if path.is_file()}
    assert len(files) > 2
    hub.add("org/repo", files)
    pinning.pin(["hf-hub:org/repo"], LOCK)
    assert {one.file for one in read_lock(LOCK).entries["hf-hub:org/repo"].files} == set(files)
    vitzoo.create("hf-hub:org/repo")


def test_pins_that_two_write_at_once_are_both_kept(hub: LoopbackHub, tiny, monkeypatch) -> None:
    names = [f"hf-hub:org/{name}" for name in ("one", "two")]
    for name in names:
        hub.add(name.removeprefix("hf-hub:"), {"model.safetensors": tiny})
    both, resolve = threading.Barrier(2), pinning.resolve

    def slowly(name: str) -> Pin:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.3)  # both are here at once only where nothing keeps them apart
        return resolve(name)

    monkeypatch.setattr(pinning, "resolve", slowly)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: pinning.pin([name], LOCK), names))
    assert sorted(read_lock(LOCK).entries) == names


def test_check_shows_what_moved_and_update_takes_it(hub: LoopbackHub, weights, run) -> None:
    hub.add(REPO, {"model.safetensors": weights[0]})
    run("pin", NAME)
    assert run("pin", "--check") == (0, "vitzoo.lock: nothing has changed\n", "")
    hub.add(REPO, {"README.md": b"hello"})
    checked = run("pin", "--check")
    assert checked.code == 0
    assert "(the same bytes)" in checked.out
    before = LOCK.read_text()
    hub.add(REPO, {"model.safetensors": weights[1]})
    checked = run("pin", "--check", "--json")
    assert checked.code == 1
    assert {change["what"] for change in json.loads(checked.out)} == {"bytes", "commit"}
    assert run("pin", NAME).code == 0
    assert LOCK.read_text() == before  # a pin stays until it is asked to move
    assert run("pin", "--update").code == 0
    assert read_lock(LOCK).entries[NAME].files[0].sha256 == hashlib.sha256(weights[1]).hexdigest()


def test_offline_there_is_nothing_to_compare_with(hub: LoopbackHub, weights, run, monkeypatch) -> None:
    hub.add(REPO, {"model.safetensors": weights[0]})
    run("pin", NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    checked = run("pin", "--check")
    assert checked.code == 2
    assert "the hub has to be asked for this, and HF_HUB_OFFLINE is set" in checked.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to pin"),
        (["--check", "--update"], "give one of them"),
        (["--check"], "cannot be read: No such file or directory; write it with `vitzoo pin`"),
        (["vit_b17"], "did you mean"),
        (["hf-hub:org/none"], "there is no repository org/none"),
        (["vit_nano4", "--lock", "none/vitzoo.lock"], "none/vitzoo.lock cannot be written: No such file"),
        (["hf-hub:org/none@main"], "leave '@main' out"),
        (["vit_nano4"], None),
    ],
)
def test_wrong_use_is_one_line_and_writes_nothing(hub: LoopbackHub, run, arguments, message) -> None:
    result = run("pin", *arguments)
    if message is None:
        assert result.code == 0
        return
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not LOCK.exists()


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', '{"entries": {"x": {"source": "y", "files": []}}}', "[]"])
def test_a_broken_lock_is_an_error_and_not_no_lock(hub: LoopbackHub, text: str) -> None:
    LOCK.write_text(text)
    with pytest.raises(WeightsError, match="is not a lock file"):
        vitzoo.create(NAME, pretrained=True)


def test_the_variable_names_a_lock_or_none(hub: LoopbackHub, weights, monkeypatch, tmp_path: Path) -> None:
    hub.add(REPO, {"model.safetensors": weights[0]})
    LOCK.write_text('{"format": 1, "entries": {}}')
    monkeypatch.setenv("VITZOO_LOCK", "")
    vitzoo.create(NAME, pretrained=True)
    monkeypatch.setenv("VITZOO_LOCK", str(tmp_path / "other.lock"))
    with pytest.raises(WeightsError, match=r"other.lock cannot be read"):
        vitzoo.create(NAME, pretrained=True)
