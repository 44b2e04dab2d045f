"""google-research/big_vision's files: against a reference on the stored tensors, and timm's reader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from peers.flax_vit import LINEN, forward, parameters, sincos2d
from peers.npz import assert_same_arrays, native, read, write
from timm.models.vision_transformer import VisionTransformer

from vitzoo.errors import LayoutError
from vitzoo.layouts import big_vision
from vitzoo.layouts.big_vision import LAYOUTS
from vitzoo.model.resample import resample_table
from vitzoo.spec import Resample, ViTSpec

BY_NAME = {layout.name: layout for layout in LAYOUTS}
X = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
NO_TOKEN = {"class_token": False, "pos_prefix": "none"}


def spec(**changes: Any) -> ViTSpec:
    return tiny.spec(**{"img_size": (16, 24), "act": "gelu_tanh", "pos_prefix": "none", **changes})


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tok": ({"cls": True}, {}),
    "gap": ({}, {"pool": "avg", **NO_TOKEN}),
    "pre_logits": ({"pre_logits": True}, {"pool": "avg", "head": "pre_logits", **NO_TOKEN}),
    "map": ({"map_head": True, "classes": 0}, {"pool": "map", "num_classes": 0, **NO_TOKEN}),
    "map with head": ({"map_head": True}, {"pool": "map", **NO_TOKEN}),
    "sincos2d": ({"positions": None}, {"pool": "avg", "pos_embed": "fixed", **NO_TOKEN}),
}


def file_of(case: str, scan: bool = False) -> dict[str, np.ndarray]:
    made = {"positions": "pos_embedding"} | CASES[case][0]
    return parameters(LINEN, made.pop("positions"), 6, scan=scan, **made)


def reference(stored: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(forward(stored, X.numpy(), big_vision=True)).float()


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.proves(
    layout=("big_vision", "big_vision_scan"),
    against="a numpy reference on the stored arrays, `peers.flax_vit`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    claim="Google's and big_vision's `.npz`",
    against="a reference in numpy, compared once with flax 0.12.8",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("prefix", ["", "params/", "params/img/", "img/", "opt/target/"])
@pytest.mark.parametrize("scan", [False, True])
def test_numbers_and_bytes(tmp_path: Path, case: str, prefix: str, scan: bool) -> None:
    stored, layout = file_of(case, scan), BY_NAME["big_vision_scan" if scan else "big_vision"]
    others = {}
    if "img/" in prefix:  # SigLIP: the other tower, temperature and bias
        outer = prefix.removesuffix("img/")
        others = {f"{outer}{key}": np.ones(1, np.float32) for key in ("t", "b", "txt/Encoder_0/encoder_norm/scale")}
    np.savez(tmp_path / "in.npz", **others, **{f"{prefix}{key}": value for key, value in stored.items()})
    model = read(tmp_path / "in.npz", layout, spec(**CASES[case][1]))
    close(model(X), reference(stored))
    assert_same_arrays(write(tmp_path / "out.npz", layout, model), stored)


@pytest.mark.parametrize("scan", [False, True])
def test_control_a_swap_is_noticed(tmp_path: Path, scan: bool) -> None:
    stored, layout = file_of("map", scan), BY_NAME["big_vision_scan" if scan else "big_vision"]
    first, second = (f"MAPHead_0/MultiHeadDotProductAttention_0/{name}/kernel" for name in ("key", "value"))
    np.savez(tmp_path / "in.npz", **(stored | {first: stored[second], second: stored[first]}))
    model = read(tmp_path / "in.npz", layout, spec(**CASES["map"][1]))
    with pytest.raises(AssertionError):
        close(model(X), reference(stored))


@pytest.mark.proves(
    layout=("big_vision", "big_vision_scan"), against="timm `VisionTransformer` by `load_pretrained`", tolerance="1e-5"
)
@pytest.mark.parametrize("case", ["tok", "gap", "map", "map with head"])
@pytest.mark.parametrize("scan", [False, True])
def test_timm_reads_our_file(tmp_path: Path, case: str, scan: bool) -> None:
    np.savez(tmp_path / "in.npz", **file_of(case, scan))
    layout, own = BY_NAME["big_vision_scan" if scan else "big_vision"], spec(**CASES[case][1])
    model = read(tmp_path / "in.npz", layout, own)
    write(tmp_path / "out.npz", layout, model)
    timm = VisionTransformer(
        **tiny.timm_arguments(img_size=(16, 24), num_classes=own.num_classes),
        act_layer="gelu_tanh",
        class_token=own.class_token,
        no_embed_class=True,
        global_pool={"cls": "token"}.get(own.pool.value, own.pool.value),
        fc_norm=False,
    ).eval()
    timm.load_pretrained(str(tmp_path / "out.npz"))
    close(timm(X), model(X))


def test_the_fixed_table_is_big_visions_and_no_other(tmp_path: Path) -> None:
    own = spec(**CASES["sincos2d"][1])
    table = big_vision.fixed(own)
    close(table, torch.from_numpy(sincos2d(2, 3, 24))[0].float())
    binding, tensors = BY_NAME["big_vision"].bind(own, writing=True), native(own, 0)
    tensors["pos_embed.grid"] = table.reshape(2, 3, 24)
    assert "pos_embedding" not in binding.export_all(tensors)
    # MAE divides the exponents by n, not by n - 1 (facebookresearch/mae, util/pos_embed.py).
    angle = torch.outer(torch.arange(3.0).repeat(2), 10_000.0 ** -(torch.arange(6) / 6))
    tensors["pos_embed.grid"] = torch.cat([angle.sin(), angle.cos(), table[:, 12:]], dim=1).reshape(2, 3, 24)
    with pytest.raises(LayoutError, match=r"pos_embed\.grid that has to be what the architecture implies"):
        binding.export_all(tensors)


def test_bfloat16_is_read_from_a_two_byte_void(tmp_path: Path) -> None:
    stored = file_of("map")
    halves = {key: torch.from_numpy(value).bfloat16() for key, value in stored.items()}
    np.savez(tmp_path / "in.npz", **{key: half.view(torch.int16).numpy().view("V2") for key, half in halves.items()})
    model = read(tmp_path / "in.npz", BY_NAME["big_vision"], spec(**CASES["map"][1]))
    close(model(X), reference({key: half.float().numpy() for key, half in halves.items()}))


def test_flexivit_is_resampled_by_two_policies(tmp_path: Path) -> None:
    stored = file_of("tok")
    np.savez(tmp_path / "in.npz", **stored)
    model = read(tmp_path / "in.npz", BY_NAME["big_vision"], spec())
    x = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(2))
    for policy in (Resample.GOOGLE, Resample.BIG_VISION):  # the checkpoint loader's, the forward pass's
        model.pos_embed.resample = policy
        table = resample_table(model.pos_embed.grid, (4, 6), policy).reshape(1, 24, 24).detach().numpy()
        resized = forward(stored | {"pos_embedding": table}, x.numpy(), big_vision=True)
        close(model(x), torch.from_numpy(resized).float())
        other = Resample.GOOGLE if policy is Resample.BIG_VISION else Resample.BIG_VISION
        model.pos_embed.resample = other
        with pytest.raises(AssertionError):
            close(model(x), torch.from_numpy(resized).float())


@pytest.mark.proves(
    layout="big_vision_naflex",
    against="the same reference, arrays reshaped, at the table's grid",
    tolerance="1e-5, tensors bit for bit",
)
def test_naflex_keeps_flat_patches_and_the_grid(tmp_path: Path) -> None:
    """Dense over (row, column, channel) of a patch: the same numbers as the convolution on the table's own grid."""
    stored = file_of("map")
    flat = stored | {
        "embedding/kernel": stored["embedding/kernel"].reshape(8 * 8 * 3, 24),
        "pos_embedding": stored["pos_embedding"].reshape(2, 3, 24),
    }
    np.savez(tmp_path / "in.npz", **flat)
    model = read(tmp_path / "in.npz", BY_NAME["big_vision_naflex"], spec(**CASES["map"][1]))
    close(model(X), reference(stored))
    assert_same_arrays(write(tmp_path / "out.npz", BY_NAME["big_vision_naflex"], model), flat)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"act": "gelu"}, "act is gelu, and layout 'big_vision' has act gelu_tanh"),
        ({"pos_prefix": "cls"}, "pos_prefix is cls"),
        ({"reg_tokens": 4}, "reg_tokens is 4"),
        ({"pool": "map"}, "cannot hold the model's cls_token"),
        ({"norm_eps": 1e-5}, "norm_eps is 1e-05"),
    ],
)
def test_what_cannot_be_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        BY_NAME["big_vision"].bind(spec(**changes), writing=True)


@pytest.mark.proves(layout="big_vision_naflex_scan", against="import of export alone", tolerance="bit for bit")
@given(
    name=st.sampled_from(sorted(BY_NAME)),
    depth=st.integers(1, 3),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    case=st.sampled_from(["tok", "gap", "map", "map with head", "pre_logits"]),
    seed=st.integers(0, 99),
)
def test_import_of_export_is_the_identity(name: str, depth: int, grid: tuple[int, int], case: str, seed: int) -> None:
    case = "gap" if "naflex" in name and case == "tok" else case
    own = spec(img_size=(8 * grid[0], 8 * grid[1]), depth=depth, **CASES[case][1])
    binding, tensors = BY_NAME[name].bind(own, writing=True), native(own, seed)
    back = binding.import_all(binding.export_all(tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[key], tensors[key]) for key in tensors)
