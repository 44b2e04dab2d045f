"""torchvision's VisionTransformer: its own files, its own strict loading, both spellings of the MLP."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from peers.npz import native, read
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer

from vitzoo.errors import LayoutError
from vitzoo.layouts.torchvision.tables import LAYOUTS
from vitzoo.spec import ViTSpec

NOW, BEFORE = LAYOUTS
X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def spec(**changes: Any) -> ViTSpec:
    return tiny.spec(**{"img_size": 16, **changes})


def peer(seed: int, **changes: Any) -> VisionTransformer:
    sizes = {"image_size": 16, "patch_size": 8, "num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 40}
    model = VisionTransformer(**sizes, **({"num_classes": 5} | changes)).eval()
    return tiny.randomise(model, seed, std=0.3)


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As torchvision wrote them before version 2 of its MLPBlock."""
    return {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): t for key, t in state.items()
    }


@pytest.mark.proves(
    layout=("torchvision", "torchvision_v1"),
    against="torchvision `VisionTransformer`, strict loading",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    claim="torchvision, OpenCLIP", against="torchvision's own class", tolerance="1e-5, tensors bit for bit"
)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("width", [None, 24])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_both_ways(tmp_path: Path, layout: Any, width: int | None, prefix: str) -> None:
    theirs = peer(0, representation_size=width)
    state = dict(theirs.state_dict()) if layout is NOW else old_names(theirs.state_dict())
    torch.save({f"{prefix}{key}": t for key, t in state.items()}, tmp_path / "in.pth")
    ours = read(tmp_path / "in.pth", layout, spec(head="pre_logits" if width else "linear"))
    torch.testing.assert_close(ours(X), theirs(X), rtol=1e-5, atol=1e-5)
    exported = layout.bind(ours.spec, writing=True).export_all(ours.state_dict())
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[key], state[key]) for key in state)
    other = peer(1, representation_size=width)
    other.load_state_dict(exported, strict=True)
    torch.testing.assert_close(other(X), theirs(X), rtol=0, atol=0)


def test_control_a_swap_is_noticed(tmp_path: Path) -> None:
    theirs = peer(0)
    state, root = dict(theirs.state_dict()), "encoder.layers.encoder_layer_1"
    first, second = f"{root}.ln_1.weight", f"{root}.ln_2.weight"
    torch.save(state | {first: state[second], second: state[first]}, tmp_path / "in.pth")
    ours = read(tmp_path / "in.pth", NOW, spec())
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours(X), theirs(X), rtol=1e-5, atol=1e-5)


def test_features_alone(tmp_path: Path) -> None:
    theirs = peer(0, num_classes=0)
    torch.save(theirs.state_dict(), tmp_path / "in.pth")
    ours = read(tmp_path / "in.pth", NOW, spec(num_classes=0))
    theirs.heads = torch.nn.Identity()
    torch.testing.assert_close(ours(X), theirs(X), rtol=1e-5, atol=1e-5)
    theirs.load_state_dict(NOW.bind(ours.spec, writing=True).export_all(ours.state_dict()), strict=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_eps": 1e-5}, "norm_eps is 1e-05"),
        ({"act": "gelu_tanh"}, "act is gelu_tanh"),
        ({"pool": "avg"}, "pool is avg"),
        ({"pos_prefix": "none"}, "pos_prefix is none"),
        ({"reg_tokens": 1}, "reg_tokens is 1"),
        ({"in_chans": 1}, "in_chans is 1"),
        ({"layer_scale": 1e-5}, "layer_scale is 1e-05"),
    ],
)
def test_what_cannot_be_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        NOW.bind(spec(**changes), writing=True)


@given(
    layout=st.sampled_from(LAYOUTS),
    depth=st.integers(1, 3),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    head=st.sampled_from(["linear", "pre_logits"]),
    seed=st.integers(0, 99),
)
def test_import_of_export_is_the_identity(layout: Any, depth: int, grid: tuple[int, int], head: str, seed: int) -> None:
    own = spec(img_size=(8 * grid[0], 8 * grid[1]), depth=depth, head=head)
    binding, tensors = layout.bind(own), native(own, seed)
    back = binding.import_all(binding.export_all(tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[key], tensors[key]) for key in tensors)
