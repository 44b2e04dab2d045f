"""Digests of a registry's sources, asked of a hub and of web addresses, and what is said where there are none."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_hub import Status
from probe import FILE, NAME, REPO, WEIGHTS, Bench, bench, checkpoint, is_probe, write_registry

from vitzoo import registry
from vitzoo.errors import RegistryError, WeightsError
from vitzoo.registry import index

DIGEST = hashlib.sha256(checkpoint()).hexdigest()
URL_FILE = "/files/probe.safetensors"


@pytest.fixture
def b(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    with bench(monkeypatch, tmp_path / "home") as found:
        yield found


def own(b: Bench, *sources: dict[str, Any]) -> Path:
    """A registry of one's own with one entry, which nobody has added yet."""
    folder = b.home / "own"
    (folder / "families").mkdir(parents=True)
    write_registry(folder / "families" / "probe.yaml", *sources)
    b.monkeypatch.setattr(index, "_loaded", None)
    return folder


@pytest.mark.proves(promise="The bytes are the right ones", against="`vitzoo pin --registry`: each source asked once")
def test_a_registry_is_pinned(b: Bench, run: Callable[..., Any]) -> None:
    url = b.hub.url(URL_FILE, checkpoint())
    folder = own(b, {"repo": REPO}, {"kind": "url", "url": url}, {"repo": REPO, "file": "gone.safetensors"})
    done = run("pin", "--registry", folder)
    assert done.code == 1  # a source that gives none is named, and the others are written
    assert f"hf://{REPO}/{FILE}: sha256 {DIGEST}, stated by the hub of hf://{REPO}/{FILE}@{b.commit}" in done.out
    assert f"{url}: sha256 {DIGEST}, stated by nobody: computed from the file at its address" in done.out
    assert f"{REPO}/gone.safetensors: hf://{REPO}/gone.safetensors: {REPO} has no such file" in done.out
    assert [r.method for r in b.hub.requests] == ["HEAD", "GET", "HEAD"]  # no byte of what the hub states a digest of
    assert not list((b.home / "vitzoo" / "urls").glob("*/*"))  # a download is not kept
    written = json.loads((folder / "digests.json").read_text())["files"]
    assert {place: one["sha256"] for place, one in written.items()} == {f"hf://{REPO}/{FILE}": DIGEST, url: DIGEST}

    b.asked()
    b.hub.add(REPO, {"gone.safetensors": checkpoint(1)})
    assert run("pin", "--registry", folder, "vit_probe.*").code == 0
    assert b.asked() == ["HEAD"]  # what is known is not asked again
    assert "all digests are known" in run("pin", "--registry", folder).out

    registry.add_registry(folder)
    assert [source.sha256 for source in registry.weights_entry(NAME).sources[:2]] == [DIGEST, DIGEST]
    assert is_probe(b.create())
    b.hub.add(REPO, {FILE: checkpoint(1)})
    b.hub.fault(Status(404), path=URL_FILE, times=None)
    b.hub.fault(Status(404), path="*gone*", method="*", times=None)
    with pytest.raises(WeightsError, match=f"sha256 {DIGEST} was expected"):
        b.create()


def test_it_goes_on_after_an_interruption(b: Bench, run: Callable[..., Any]) -> None:
    url = b.hub.url(URL_FILE, checkpoint())
    folder = own(b, {"kind": "url", "url": url}, {"repo": REPO})
    b.hub.fault(Status(503), method="HEAD", path=WEIGHTS, times=None)
    assert run("pin", "--registry", folder).code == 1
    assert list(json.loads((folder / "digests.json").read_text())["files"]) == [url]
    b.hub.clear()
    assert run("pin", "--registry", folder).code == 0
    assert b.asked() == ["HEAD"]


def test_what_contradicts_the_registry(b: Bench, run: Callable[..., Any]) -> None:
    folder = own(b, {"repo": REPO, "sha256": "0" * 8})
    done = run("pin", "--registry", folder)
    assert (done.code, done.out.count("has other bytes than the registry says (00000000)")) == (1, 1)
    assert not (folder / "digests.json").exists()
    stated = {"sha256": DIGEST, "stated": "by somebody"}
    (folder / "digests.json").write_text(json.dumps({"files": {f"hf://{REPO}/{FILE}": stated}}))
    with pytest.raises(RegistryError, match=rf"sha256 is 00000000, and digests\.json has {DIGEST} of hf://{REPO}"):
        registry.add_registry(folder)


@pytest.mark.parametrize("text", ["[]", '{"files": {"x": {"sha256": "00", "stated": "y"}}}', "{", '{"format": 2}'])
def test_a_file_of_digests_that_is_none(b: Bench, text: str) -> None:
    folder = own(b)
    (folder / "digests.json").write_text(text)
    with pytest.raises(RegistryError, match=r"digests\.json: .*; mend the file"):
        registry.add_registry(folder)


def test_info_says_what_is_known(b: Bench, run: Callable[..., Any]) -> None:
    b.sources({"repo": REPO})
    said = "no digest is known: `vitzoo pin` writes down what the source has now"
    assert said in " ".join(run("info", NAME).out.split())
    folder = own(b, {"repo": REPO})
    run("pin", "--registry", folder)
    registry.add_registry(folder)
    shown = " ".join(run("info", NAME).out.split())
    assert f"sha256 {DIGEST} stated by the hub of hf://{REPO}/{FILE}@{b.commit}" in shown
    shown = " ".join(run("info", "vit_b16.tv_in1k_v1").out.split())
    assert "sha256 c867db91, its first 8 digits, stated in the file's own name" in shown


def test_wrong_options(b: Bench, run: Callable[..., Any]) -> None:
    folder = own(b)
    assert "leave the other options out" in run("pin", "--registry", folder, "--update").err
    assert "has no weights vit_b16.x" in run("pin", "--registry", folder, "vit_b16.x").err
    assert "is no folder of a registry" in run("pin", "--registry", folder / "none").err


def test_every_digest_of_the_registry_says_where_it_is_stated() -> None:
    """What has fewer than all digits has them from the name of its file, as torch.hub's convention is."""
    for name in registry.list_pretrained():
        for source in registry.weights_entry(name).sources:
            short = source.sha256 is not None and len(source.sha256) < 64
            assert not short or f"-{source.sha256}." in source.url, name
