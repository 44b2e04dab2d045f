"""A tiny model under many addresses of a loopback hub, and this process set up to know that hub alone."""

import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import yaml
from huggingface_hub import close_session, constants
from loopback_hub import LoopbackHub
from loopback_hub.client import use
from safetensors.torch import save

import vitzoo
from vitzoo import ViT, registry
from vitzoo.registry import index
from vitzoo.spec import ViTSpec

REPO, FILE = "org/probe", "model.safetensors"
WEIGHTS = f"*/{FILE}"
NAME = "vit_probe.hub"
FIELDS = {**tiny.FIELDS, "img_size": 16}
SPEC = ViTSpec.parse(FIELDS, "the probe")


@cache
def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Every parameter at random, so that no byte of the file is without a meaning."""
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(value.shape, generator=generator) for key, value in ViT(SPEC).state_dict().items()}


@cache
def checkpoint(seed: int = 0) -> bytes:
    """A native file, as `vitzoo.save` writes it."""
    about = {"format": 1, "spec": SPEC.model_dump(mode="json"), "preprocessing": {}, "resample": "timm"}
    return save(state(seed), {"vitzoo": json.dumps(about)})


def is_probe(model: ViT, seed: int = 0) -> bool:
    """Whether a model holds exactly the tensors that were published."""
    found, wanted = model.state_dict(), state(seed)
    return found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def race(count: int) -> None:
    """Let so many processes create the same model at once; torch is imported once, before they part."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(count), context.Queue()

    def create() -> None:
        barrier.wait()
        results.put(is_probe(vitzoo.create(NAME, pretrained=True)))

    processes = [context.Process(target=create) for _ in range(count)]
    for process in processes:
        process.start()
    print(sum(results.get(timeout=120) for _ in processes))
    for process in processes:
        process.join()


def write_registry(path: Path, *sources: Mapping[str, Any]) -> Path:
    """A user's registry with the entry `vit_probe.hub`, which has these sources; by default the hub's repository."""
    entry = {
        "sources": [{"kind": "hub", "layout": "vitzoo", **source} for source in sources or ({"repo": REPO},)],
        "license": "mit",
        "preprocessing": {},
        "resample": "timm",
        "params": sum(value.numel() for value in state().values()),
    }
    family = {"family": "probe", "models": {"vit_probe": FIELDS}, "weights": {NAME: entry}}
    path.write_text(yaml.safe_dump(family), encoding="utf-8")
    return path


def flip(path: Path) -> None:
    """Invert the last byte of a file, as a bad disk or another program might; the time of its change shows it."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 0xFF]))
    os.utime(path, ns=(0, time.time_ns() + 10**9))


class Bench:
    """One hub, one empty cache, and what a user does with them."""

    def __init__(self, hub: LoopbackHub, home: Path, monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
        self.hub, self.home, self.monkeypatch = hub, home, monkeypatch
        self.commit = hub.add(REPO, {FILE: checkpoint(), "README.md": b"---\nlicense: mit\n---\n"})
        self.slept = slept

    def sources(self, *sources: Mapping[str, Any]) -> None:
        """Give the entry `vit_probe.hub` these sources."""
        self.monkeypatch.setattr(index, "_loaded", None)
        registry.add_registry(write_registry(self.home / f"registry{time.monotonic_ns()}.yaml", *sources))

    def create(self, name: str = NAME, **settings: Any) -> ViT:
        return vitzoo.create(name, pretrained=True, **settings)

    def offline(self, yes: bool = True) -> None:
        self.monkeypatch.setattr(constants, "HF_HUB_OFFLINE", yes)

    def asked(self) -> list[str]:
        """The methods of all requests since the last time, in their order."""
        methods = [request.method for request in self.hub.requests]
        self.hub.requests.clear()
        return methods

    def blob(self) -> Path:
        """Where the hub's cache holds the weights."""
        (path,) = (self.home / "hub").glob("models--*/snapshots/*/*.safetensors")
        return path.resolve()

    def quarantined(self) -> list[Path]:
        return sorted((self.home / "vitzoo" / "quarantine").glob("*"))

    def leftovers(self) -> list[Path]:
        """Files that a failure left half done; there must be none."""
        return [path for path in self.home.rglob("*") if path.name.endswith((".partial", ".incomplete", ".validator"))]


@contextmanager
def bench(monkeypatch: pytest.MonkeyPatch, home: Path, **settings: Any) -> Iterator[Bench]:
    """This process's client online, with one loopback hub, an empty cache, no token, and no real waits."""
    with LoopbackHub(**settings) as server:
        times = {"HF_HUB_ETAG_TIMEOUT": 0.3, "HF_HUB_DOWNLOAD_TIMEOUT": 0.3}
        slept = use(server, home, monkeypatch, DOWNLOAD_CHUNK_SIZE=4096, **times)
        monkeypatch.chdir(home)
        found = Bench(server, home, monkeypatch, slept)
        found.sources()
        close_session()  # its proxies and certificates are those of the test before
        yield found
        close_session()
