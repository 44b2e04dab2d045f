"""The ViT against timm's, with every parameter randomised."""

import copy
import pickle
from collections.abc import Callable

import pytest
import timm
import timm.optim
import tiny
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitzoo import ViT
from vitzoo.errors import SpecError
from vitzoo.layouts.tables import get_layout
from vitzoo.model.digest import tensors_digest
from vitzoo.registry.describe import count_macs, count_parameters, stages
from vitzoo.spec import ViTSpec
from vitzoo.spec.tensors import native_shapes

TINY = tiny.spec(hidden_dim=48, depth=3, mlp_dim=80, num_classes=7)
TIMM = tiny.timm_arguments(embed_dim=48, depth=3, mlp_ratio=80 / 48, num_classes=7)

# Each case: changes of our spec, and the same in timm's words.
CASES = {
    "plain": ({}, {}),
    "rectangular": ({"img_size": (32, 64), "patch_size": (8, 16)}, {"img_size": (32, 64), "patch_size": (8, 16)}),
    "one channel": ({"in_chans": 1}, {"in_chans": 1}),
    "no classifier": ({"num_classes": 0}, {"num_classes": 0}),
    "average, norm before": ({"pool": "avg"}, {"global_pool": "avg", "fc_norm": False}),
    "average, norm after": ({"pool": "avg", "final_norm": "pooled"}, {"global_pool": "avg", "fc_norm": True}),
    "attention pool": ({"pool": "map"}, {"global_pool": "map"}),
    "no class token": (
        {"class_token": False, "pos_prefix": "none", "pool": "avg"},
        {"class_token": False, "global_pool": "avg", "fc_norm": False},
    ),
    "registers": (
        {"reg_tokens": 4, "pos_prefix": "none"},
        {"reg_tokens": 4, "no_embed_class": True},
    ),
    "registers in the table": ({"reg_tokens": 2, "pos_prefix": "all"}, {"reg_tokens": 2}),
    "no positions": ({"pos_embed": "none"}, {"pos_embed": "none"}),
    "no qkv bias": ({"qkv_bias": "none"}, {"qkv_bias": False}),
    "no biases": (
        {"qkv_bias": "none", "proj_bias": False, "mlp_bias": False, "mlp_out_bias": False},
        {"qkv_bias": False, "proj_bias": False},
    ),
    "qk norm": ({"qk_norm": True}, {"qk_norm": True}),
    "layer scale": ({"layer_scale": 1e-5}, {"init_values": 1e-5}),
    "norm before the blocks": ({"norm_pre": True, "patch_bias": False}, {"pre_norm": True}),
    "eps": ({"norm_eps": 1e-2}, {"norm_layer": lambda dim, **kw: nn.LayerNorm(dim, eps=1e-2)}),
    "tanh gelu": ({"act": "gelu_tanh"}, {"act_layer": "gelu_tanh"}),
    "quick gelu": ({"act": "quick_gelu"}, {"act_layer": "quick_gelu"}),
    "gated": ({"mlp": "gated", "act": "silu"}, {"mlp_layer": timm.layers.SwiGLU, "act_layer": "silu"}),
    "rms norm": (
        {"norm": "rms", "patch_norm": True, "norm_eps": 1e-5},
        {"norm_layer": "rms", "embed_norm_layer": "rms"},
    ),
}  # fmt: skip


def pair(case: str) -> tuple[ViT, nn.Module]:
    ours, theirs = CASES[case]
    spec = TINY.replace(**ours)
    kwargs = {**TIMM, **theirs, "dynamic_img_size": True}
    if case == "no biases":
        kwargs["mlp_layer"] = lambda *a, **kw: timm.layers.Mlp(*a, **{**kw, "bias": False})
    if case == "rms norm":
        from functools import partial

        rms = partial(timm.layers.RmsNorm, eps=1e-5)
        kwargs |= {"norm_layer": rms, "embed_norm_layer": rms}
    peer = tiny.randomise(VisionTransformer(**kwargs))
    model = ViT(spec).eval()
    model.load_state_dict(get_layout("timm").bind(spec).import_all(peer.state_dict()))
    return model, peer


@pytest.mark.parametrize("case", CASES)
def test_equal_to_timm(case: str) -> None:
    model, peer = pair(case)
    spec = model.spec
    (height, width), (rows, cols) = spec.img_size, spec.patch_size
    for size in [(height, width), (height + 2 * rows, width + cols), (rows, 3 * cols)]:
        x = torch.randn(2, spec.in_chans, *size)
        with torch.no_grad():
            torch.testing.assert_close(model.forward_features(x), peer.forward_features(x), atol=1e-5, rtol=1e-5)
            features = peer.forward_features(x)
            torch.testing.assert_close(
                model.forward_head(model.forward_features(x), pre_logits=True),
                peer.forward_head(features, pre_logits=True),
                atol=1e-5,
                rtol=1e-5,
            )
            torch.testing.assert_close(model(x), peer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_round_trip_through_timm_is_exact(case: str) -> None:
    model, peer = pair(case)
    back = get_layout("timm").bind(model.spec).export_all(model.state_dict())
    theirs = peer.state_dict()
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)


def test_distilled_equals_timm() -> None:
    peer = tiny.randomise(VisionTransformerDistilled(**TIMM, global_pool="token"))
    spec = TINY.replace(dist_token=True, pos_prefix="all", pool="cls_dist", head="distilled")
    model = ViT(spec).eval()
    model.load_state_dict(get_layout("timm").bind(spec).import_all(peer.state_dict()))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(x), atol=1e-5, rtol=1e-5)
        tokens = model.tokens(x)
        torch.testing.assert_close(tokens.dist, peer.forward_features(x)[:, 1], atol=1e-5, rtol=1e-5)
    assert isinstance(model.get_classifier(), tuple)


def test_a_swap_is_noticed() -> None:
    """The control: a parity test that could not fail would be worthless."""
    model, peer = pair("plain")
    x = torch.randn(2, 3, 32, 32)
    shapes: dict[tuple[int, ...], list[str]] = {}
    for key, tensor in model.state_dict().items():
        shapes.setdefault(tuple(tensor.shape), []).append(key)
    swaps = [(a, b) for keys in shapes.values() for i, a in enumerate(keys) for b in keys[i + 1 :]]
    unnoticed = []
    with torch.no_grad():
        expected = peer(x)
        for a, b in swaps:
            swapped = copy.deepcopy(model)
            state = model.state_dict()
            swapped.load_state_dict({**state, a: state[b], b: state[a]})
            if torch.allclose(swapped(x), expected, atol=1e-5, rtol=1e-5):
                unnoticed.append((a, b))
    assert len(swaps) > 100
    # Both are added to the same token: no output can tell them apart.
    assert unnoticed == [("cls_token", "pos_embed.prefix")]


@pytest.mark.parametrize("arguments", [{}, {"norm": True}, {"indices": 2}, {"indices": [0, -1], "stop_early": True}])
@pytest.mark.parametrize("fmt", ["NCHW", "NLC"])
def test_intermediates_equal_timm(arguments: dict[str, object], fmt: str) -> None:
    model, peer = pair("registers")
    x = torch.randn(2, 3, 32, 64)
    ours = model.forward_intermediates(x, output_fmt=fmt, return_prefix_tokens=True, **arguments)
    theirs = peer.forward_intermediates(x, output_fmt=fmt, return_prefix_tokens=True, **arguments)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_intermediate_layers_equal_timm() -> None:
    model, peer = pair("plain")
    x = torch.randn(2, 3, 32, 32)
    for reshape in (False, True):
        ours = model.get_intermediate_layers(x, n=2, reshape=reshape, norm=True)
        theirs = peer.get_intermediate_layers(x, n=2, reshape=reshape, norm=True)
        torch.testing.assert_close(list(ours), list(theirs), atol=1e-5, rtol=1e-5)
    with pytest.raises(SpecError, match="blocks 0 to 2"):
        model.get_intermediate_layers(x, n=4)


def test_tokens_are_named() -> None:
    model, _ = pair("registers")
    x = torch.randn(2, 3, 32, 48)
    tokens, features = model.tokens(x), model.forward_features(x)
    assert tokens.grid == (4, 6)
    assert tokens.cls is not None
    torch.testing.assert_close(torch.cat([tokens.cls[:, None], tokens.registers, tokens.patches], 1), features)
    assert tokens.dist is None
    assert tokens.registers.shape == (2, 4, 48)


@pytest.mark.parametrize("case", CASES)
def test_native_shapes_and_counts(case: str) -> None:
    spec = TINY.replace(**CASES[case][0])
    with torch.device("meta"):
        model = ViT(spec)
    assert {key: tuple(t.shape) for key, t in model.state_dict().items()} == native_shapes(spec)
    assert count_parameters(spec) == sum(p.numel() for p in model.parameters())
    model = ViT(spec).init_weights(0).eval()
    # The counter of torch 2.14 does not know the fused attention kernel of the CPU.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.randn(2, spec.in_chans, *spec.img_size))
    assert counter.get_total_flops() == 2 * count_macs(spec, batch=2)


def test_counts_of_published_models() -> None:
    """Parameters and GMACs as timm's results tables give them (vit_base_patch16_224: 86.57 M, 17.58 G)."""
    spec = ViTSpec(hidden_dim=768, depth=12, num_heads=12, mlp_dim=3072)
    assert count_parameters(spec) == 86_567_656
    assert count_macs(spec) / 1e9 == pytest.approx(17.58, abs=0.02)
    assert [tuple(stage) for stage in stages(spec)] == [
        ("picture", "224x224x3"),
        ("patches", "14x14 patches of 16x16x3"),
        ("patch embedding", "196x768"),
        ("with class token", "197x768"),
        ("12 blocks: attention", "12 heads of 197x64"),
        ("12 blocks: MLP", "197x3072"),
        ("pool (cls)", "768"),
        ("logits", "1000"),
    ]


def test_initialisation_is_reproducible_and_as_in_the_paper() -> None:
    first, second = ViT(TINY).init_weights(3), ViT(TINY).init_weights(torch.Generator().manual_seed(3))
    other = ViT(TINY).init_weights(4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.blocks[0].attn.qkv.weight, other.blocks[0].attn.qkv.weight)
    assert not first.head.fc.weight.any()
    assert not first.cls_token.any()
    big = ViT(TINY.replace(hidden_dim=384, num_heads=6, mlp_dim=1536, depth=1)).init_weights(0)
    bound = (6 / (384 + 384)) ** 0.5
    qkv = big.blocks[0].attn.qkv.weight
    assert qkv.abs().max() <= bound
    assert qkv.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert big.pos_embed.grid.std().item() == pytest.approx(0.02, rel=0.05)
    assert big.patch_embed.proj.weight.std().item() == pytest.approx((3 * 8 * 8) ** -0.5, rel=0.05)


def test_building_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    ViT(TINY)
    assert torch.equal(before, torch.get_rng_state())


def test_bias_of_qv_keeps_a_zero_key() -> None:
    model = ViT(TINY.replace(qkv_bias="qv")).init_weights(0)
    nn.init.normal_(model.head.fc.weight)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    grad = model.blocks[0].attn.qkv.bias.grad
    assert grad is not None
    assert not grad[48:96].any()
    assert grad[:48].any()
    assert grad[96:].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model, _ = pair("registers")
    x = torch.randn(2, 3, 32, 48)
    exact = model(x)
    assert model.to(dtype)(x.to(dtype)).float().sub(exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("case", ["plain", "attention pool", "registers"])
def test_empty_batch(case: str) -> None:
    model, _ = pair(case)
    assert model(torch.empty(0, 3, 32, 32)).shape == (0, 7)
    assert model.forward_intermediates(torch.empty(0, 3, 32, 32))[1][0].shape == (0, 48, 4, 4)


def test_drop_path() -> None:
    model = ViT(TINY.replace(drop_path_rate=0.5)).init_weights(0)
    nn.init.normal_(model.head.fc.weight)
    x = torch.randn(1, 3, 32, 32).expand(64, -1, -1, -1)
    assert model.eval()(x).std(0).max() < 1e-5
    assert model.train()(x).std(0).max() > 1e-2
    rates = [getattr(block.drop_path, "rate", 0.0) for block in model.blocks]
    assert rates == [0.0, 0.25, 0.5]


def test_gradient_checkpointing_changes_nothing() -> None:
    model, _ = pair("plain")
    x = torch.randn(2, 3, 32, 32)
    grads = []
    for on in (False, True):
        model.set_grad_checkpointing(on)
        model.train().zero_grad()
        model(x).square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_reset_classifier() -> None:
    model, _ = pair("plain")
    model.reset_classifier(3)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 3)
    assert model.num_classes == model.spec.num_classes == 3
    model.reset_classifier(0, global_pool="avg")
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 48)
    assert isinstance(model.get_classifier(), nn.Identity)


def test_set_input_size_equals_timm() -> None:
    model, peer = pair("plain")
    model.set_input_size(img_size=(48, 64))
    x = torch.randn(1, 3, 48, 64)
    torch.testing.assert_close(model(x), peer(x), atol=1e-5, rtol=1e-5)
    assert model.spec.img_size == (48, 64)
    assert model.pos_embed.grid.shape == (6, 8, 48)
    model.set_input_size(patch_size=16)
    assert model.patch_embed.proj.weight.shape[-2:] == (16, 16)
    assert model(x).shape == (1, 7)


def test_timm_helpers_work_on_it() -> None:
    model, _ = pair("plain")
    config = timm.data.resolve_data_config({}, model=model)
    assert config["input_size"] == (3, 32, 32)
    groups = timm.optim.param_groups_layer_decay(model, layer_decay=0.5)
    taken = [id(p) for group in groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())
    assert len({group["lr_scale"] for group in groups}) == TINY.depth + 2
    assert model.no_weight_decay() == {"cls_token", "pos_embed.grid", "pos_embed.prefix"}


def test_pickle_and_deepcopy() -> None:
    model, _ = pair("plain")
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))


@pytest.mark.parametrize("shape", [(1, 3, 33, 32), (1, 1, 32, 32), (3, 32, 32)])
def test_wrong_input_is_one_clear_error(shape: tuple[int, ...]) -> None:
    model, _ = pair("plain")
    with pytest.raises(SpecError, match=r"not divisible|expected pictures of shape"):
        model(torch.randn(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_dim": 50}, "hidden_dim 50 is not divisible by num_heads 3"),
        ({"img_size": 33}, "img_size 33x33 is not divisible by patch_size 8x8; the nearest size is 32x32"),
        ({"class_token": False}, "needs class_token"),
        ({"pool": "cls_dist"}, "needs dist_token"),
        ({"head": "distilled"}, "belong together"),
        ({"hiden_dim": 48}, "unknown field 'hiden_dim'"),
        ({"num_classes": -1}, "num_classes"),
        ({"pool": "max"}, "pool: Input should be 'cls'"),
        ({"drop_path_rate": 1.0}, "drop_path_rate"),
    ],
)
def test_spec_errors(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        TINY.replace(**changes)


def test_head_dim_frees_the_width() -> None:
    spec = TINY.replace(hidden_dim=50, head_dim=16)
    model = ViT(spec).init_weights(0)
    assert model.blocks[0].attn.qkv.weight.shape == (144, 50)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 7)


def test_the_digest_of_tensors_is_of_names_types_shapes_and_values() -> None:
    def digest(change: Callable[[nn.Module], object] = lambda module: None) -> str:
        torch.manual_seed(0)
        module = nn.Linear(4, 2)
        change(module)
        return tensors_digest(module)

    with torch.no_grad():
        changes = [
            lambda module: module.weight[1, 3].add_(1e-6),
            lambda module: module.bfloat16(),
            lambda module: setattr(module, "weight", nn.Parameter(module.weight.reshape(2, 4, 1))),
            lambda module: setattr(module, "more", nn.Parameter(torch.zeros(0))),
        ]
        found = {digest(), *map(digest, changes)}
    assert digest() in found
    assert len(found) == 1 + len(changes)
