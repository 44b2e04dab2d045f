"""google-research/vision_transformer's files: against a reference on the stored tensors, and timm's reader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from peers.flax_vit import GOOGLE, LINEN, forward, parameters
from peers.npz import assert_same_arrays, native, read, write
from timm.models.vision_transformer import VisionTransformer

from vitzoo.errors import LayoutError
from vitzoo.layouts.google import LAYOUTS
from vitzoo.spec import ViTSpec

BEFORE_LINEN, IN_LINEN = LAYOUTS
POSITIONS = "Transformer/posembed_input/pos_embedding"
X = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def spec(**changes: Any) -> ViTSpec:
    return tiny.spec(**{"img_size": (16, 24), "act": "gelu_tanh", **changes})


def token_file(**changes: Any) -> dict[str, np.ndarray]:
    return parameters(GOOGLE, POSITIONS, 7, cls=True, **changes)


CASES: dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]] = {
    "token": (token_file(), {}),
    "pre_logits": (token_file(pre_logits=True), {"head": "pre_logits"}),
    "features": (token_file(classes=0), {"num_classes": 0}),
    "depth 1": (token_file(depth=1), {"depth": 1}),
    "gap": (parameters(GOOGLE, POSITIONS, 6), {"class_token": False, "pos_prefix": "none", "pool": "avg"}),
}


@pytest.mark.proves(
    layout=("google", "google_linen"),
    against="a numpy reference on the stored arrays, `peers.flax_vit`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    claim="Google's and big_vision's `.npz`",
    against="a reference in numpy, compared once with flax 0.12.8",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("prefix", ["", "opt/target/"])
@pytest.mark.parametrize("linen", [False, True])
def test_numbers_and_bytes(tmp_path: Path, case: str, prefix: str, linen: bool) -> None:
    stored, fields = CASES[case]
    if linen:
        for old, new in zip(GOOGLE, LINEN, strict=True):
            stored = {key.replace(f"/{old}/", f"/{new}/"): value for key, value in stored.items()}
    layout = IN_LINEN if linen else BEFORE_LINEN
    state = {"opt/state/step": np.zeros((), np.int32)} if prefix else {}
    np.savez(tmp_path / "in.npz", **state, **{f"{prefix}{key}": value for key, value in stored.items()})
    model = read(tmp_path / "in.npz", layout, spec(**fields))
    expected = torch.from_numpy(forward(stored, X.numpy(), big_vision=False, linen=linen)).float()
    torch.testing.assert_close(model(X), expected, rtol=1e-5, atol=1e-5)
    assert_same_arrays(write(tmp_path / "out.npz", layout, model), stored)


@pytest.mark.parametrize("pair", [("query", "key"), ("query", "value")])
def test_control_a_swap_is_noticed(tmp_path: Path, pair: tuple[str, str]) -> None:
    stored, _ = CASES["token"]
    root = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"
    first, second = (f"{root}/{name}/kernel" for name in pair)
    np.savez(tmp_path / "in.npz", **(stored | {first: stored[second], second: stored[first]}))
    model = read(tmp_path / "in.npz", BEFORE_LINEN, spec())
    expected = torch.from_numpy(forward(stored, X.numpy(), big_vision=False, linen=False)).float()
    with pytest.raises(AssertionError):
        torch.testing.assert_close(model(X), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.proves(layout="google", against="timm `VisionTransformer` by `load_pretrained`", tolerance="1e-5")
@pytest.mark.proves(claim="Google's and big_vision's `.npz`", against="timm's npz reader", tolerance="1e-5")
@pytest.mark.parametrize("case", ["token", "gap"])
def test_timm_reads_our_file(tmp_path: Path, case: str) -> None:
    stored, fields = CASES[case]
    np.savez(tmp_path / "in.npz", **stored)
    model = read(tmp_path / "in.npz", BEFORE_LINEN, spec(**fields))
    write(tmp_path / "out.npz", BEFORE_LINEN, model)
    gap = case == "gap"
    timm = VisionTransformer(
        **tiny.timm_arguments(img_size=(16, 24)),
        act_layer="gelu_tanh",
        class_token=not gap,
        global_pool="avg" if gap else "token",
        fc_norm=False,
    ).eval()
    timm.load_pretrained(str(tmp_path / "out.npz"))
    torch.testing.assert_close(timm(X), model(X), rtol=1e-5, atol=1e-5)


def test_lit_image_tower(tmp_path: Path) -> None:
    stored = parameters(LINEN, POSITIONS, 7, cls=True)
    other = {"t": np.zeros(1, np.float32), "txt/head/bias": np.zeros(3, np.float32)}
    np.savez(tmp_path / "in.npz", **other, **{f"img/{key}": value for key, value in stored.items()})
    model = read(tmp_path / "in.npz", IN_LINEN, spec())
    expected = torch.from_numpy(forward(stored, X.numpy(), big_vision=False)).float()
    torch.testing.assert_close(model(X), expected, rtol=1e-5, atol=1e-5)


def test_head_without_classes_is_dropped_and_one_with_classes_is_not(tmp_path: Path) -> None:
    stored, _ = CASES["features"]
    for classes in (0, 4):
        head = {"head/kernel": np.zeros((24, classes), np.float32), "head/bias": np.zeros(classes, np.float32)}
        np.savez(tmp_path / f"{classes}.npz", **stored, **head)
    assert read(tmp_path / "0.npz", BEFORE_LINEN, spec(num_classes=0))(X).shape == (2, 24)
    with pytest.raises(LayoutError, match=r"not expected 2: .*head/kernel"):
        read(tmp_path / "4.npz", BEFORE_LINEN, spec(num_classes=0))


def test_googles_gelu_is_the_tanh_form(tmp_path: Path) -> None:
    stored, _ = CASES["token"]
    np.savez(tmp_path / "in.npz", **stored)
    tanh, exact = (read(tmp_path / "in.npz", BEFORE_LINEN, spec(act=act)) for act in ("gelu_tanh", "gelu"))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(exact(X), tanh(X), rtol=1e-5, atol=1e-5)
    with pytest.raises(LayoutError, match="act is gelu, and layout 'google' has act gelu_tanh"):
        BEFORE_LINEN.bind(exact.spec, writing=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_eps": 1e-5}, "norm_eps is 1e-05"),
        ({"reg_tokens": 1}, "reg_tokens is 1"),
        ({"pool": "avg"}, "cannot hold the model's cls_token"),
        ({"pos_prefix": "none"}, "cannot hold the model's pos_embed.grid"),
        ({"qkv_bias": "none"}, "qkv_bias is none"),
    ],
)
def test_what_cannot_be_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        BEFORE_LINEN.bind(spec(**changes), writing=True)


@given(
    layout=st.sampled_from(LAYOUTS),
    depth=st.integers(1, 3),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    token=st.booleans(),
    head=st.sampled_from(["linear", "pre_logits"]),
    classes=st.sampled_from([0, 5]),
    seed=st.integers(0, 99),
)
def test_import_of_export_is_the_identity(
    layout: Any, depth: int, grid: tuple[int, int], token: bool, head: str, classes: int, seed: int
) -> None:
    changes = {} if token else {"class_token": False, "pos_prefix": "none", "pool": "avg"}
    own = spec(img_size=(8 * grid[0], 8 * grid[1]), depth=depth, head=head, num_classes=classes, **changes)
    binding, tensors = layout.bind(own, writing=True), native(own, seed)
    back = binding.import_all(binding.export_all(tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[key], tensors[key]) for key in tensors)
