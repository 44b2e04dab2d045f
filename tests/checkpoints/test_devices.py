"""A model is made on the device that was asked for, and on the meta device nothing is computed at all."""

import resource
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vitzoo
from vitzoo import ViT, create
from vitzoo.checkpoints import create as creating
from vitzoo.checkpoints import identify as identifying
from vitzoo.checkpoints import load as loading
from vitzoo.registry.describe import count_parameters
from vitzoo.spec import ViTSpec

SPEC = ViTSpec(img_size=32, patch_size=8, hidden_dim=24, depth=2, num_heads=3, mlp_dim=40, num_classes=3)
ROPE = SPEC.replace(rope={"kind": "mixed", "theta": 10.0}, hidden_dim=24, num_heads=3)
GIGANTIC = "dinov2_g14"


class Devices(TorchDispatchMode):
    """Records the devices of all tensors that operations take or give."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen |= {leaf.device.type for leaf in tree_leaves((out, args, kwargs)) if isinstance(leaf, Tensor)}
        return out


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return vitzoo.save(ViT(SPEC).init_weights(0), tmp_path / "model")


def test_no_tensor_of_a_file_is_read_for_the_meta_device(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = identifying.open_tensors

    def unreadable(*args: Any, **options: Any) -> Any:
        file = opened(*args, **options)
        monkeypatch.setattr(type(file), "read", refuse)
        return file

    def refuse(self: object, key: str) -> Tensor:
        raise AssertionError(f"{key} was read")

    monkeypatch.setattr(identifying, "open_tensors", unreadable)
    for changes in ({}, {"num_classes": 5, "img_size": 48, "in_chans": 1}):
        model = create(saved, device="meta", **changes)
        assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
        assert model(torch.empty(1, model.spec.in_chans, 32, 32, device="meta")).shape == (1, model.num_classes)
        assert model.load_report.counts["loaded"] > 0
    with pytest.raises(AssertionError, match="was read"):  # the control
        create(saved)


@pytest.mark.parametrize("source", ["spec", "name", "file"])
def test_no_random_number_is_drawn_for_the_meta_device(source: str, saved: Path) -> None:
    model: Any = {"spec": SPEC, "name": "vit_ti16", "file": saved}[source]
    before = torch.get_rng_state()
    create(model, device="meta", num_classes=5)
    assert torch.equal(torch.get_rng_state(), before)
    create(model, num_classes=5, pool="map")  # the control: the pool is drawn
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_billion_parameters_on_the_meta_device_cost_nothing() -> None:
    create("vit_ti16", device="meta")  # what the first call imports and reads
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    model = create(GIGANTIC, device="meta")
    seconds = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    assert count_parameters(model.spec) > 1.1e9
    assert sum(parameter.numel() for parameter in model.parameters()) > 1.1e9
    assert seconds < 5, f"{seconds:.1f} s"
    assert grown < 200, f"{grown:.0f} MiB"


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> str:
    """The meta device, taken for one that computes: whatever is done elsewhere shows."""
    for module in (creating, loading):
        monkeypatch.setattr(module, "computes", lambda device: True)
    return "meta"


@pytest.mark.parametrize("spec", [SPEC, SPEC.replace(pool="map", head="projection", out_dim=4), ROPE], ids=str)
def test_new_weights_are_drawn_where_they_are_asked_for(spec: ViTSpec, accelerator: str) -> None:
    with Devices() as elsewhere:
        create(spec)
    assert elsewhere.seen == {"cpu"}  # the control
    with Devices() as devices:
        create(spec, device=accelerator)
    assert devices.seen == {accelerator}


def test_what_a_file_does_not_have_is_drawn_where_it_is_asked_for(
    saved: Path, accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def noted(module: torch.nn.Module, generator: object) -> None:
        drawn.extend((type(module).__name__, parameter.device.type) for parameter in module.parameters())

    monkeypatch.setattr(loading, "init_weights", noted)
    create(saved, device=accelerator, num_classes=5)
    assert drawn == [("LinearHead", accelerator)] * 2
