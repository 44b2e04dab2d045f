"""Every computation that an entry of the registry asks for: it initialises, runs, trains, compiles and exports."""

import copy
import pickle
import shutil
from collections.abc import Callable
from enum import Enum

import pytest
import torch
from signatures import members, representatives, signatures
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitzoo import ViT
from vitzoo import spec as specs
from vitzoo.registry.describe import count_macs, count_parameters
from vitzoo.spec import About, FinalNorm, Norm, QKVBias, Resample, ViTSpec
from vitzoo.spec.tensors import native_shapes

every_signature = pytest.mark.parametrize("name", signatures())
some_signatures = pytest.mark.parametrize("name", representatives())
ARCHITECTURE = (
    *(specs.PosEmbed, specs.PosPrefix, specs.Norm, specs.FinalNorm, specs.QKVBias, specs.RelPos, specs.RopeKind),
    *(specs.RopePairs, specs.AttentionKind, specs.BlockKind, specs.MLP, specs.Activation, specs.Pool, specs.Head),
)


def build(spec: ViTSpec, resample: Resample = Resample.TIMM) -> ViT:
    """A model without zeros: what is initialised to a constant would hide what it multiplies."""
    model = ViT(spec, About(resample=resample)).init_weights(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
            if name.endswith("attn.qkv.bias") and spec.qkv_bias is QKVBias.QV:
                parameter[key_rows(model, name)] = 0
    return model.eval()


def key_rows(model: ViT, name: str) -> slice:
    query, key, _ = model.get_submodule(name.removesuffix(".qkv.bias")).split
    return slice(query, query + key)


def pictures(spec: ViTSpec, count: int = 2, size: tuple[int, int] | None = None) -> Tensor:
    return torch.randn(count, spec.in_chans, *(size or spec.img_size), generator=torch.Generator().manual_seed(2))


def output_shape(spec: ViTSpec, count: int) -> tuple[int, ...]:
    tokens = (spec.num_prefix_tokens + spec.num_patches,) if spec.pool is specs.Pool.NONE else ()
    return (count, *tokens, spec.num_classes or spec.out_dim or spec.pooled_dim)


def equal(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def gradients(model: ViT, x: Tensor) -> dict[str, Tensor | None]:
    model.zero_grad()
    out = model(x)
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_every_choice_of_the_spec_is_among_the_signatures() -> None:
    wanted: set[Enum] = {member for kind in ARCHITECTURE for member in kind}
    found = set[Enum]().union(*(members(spec) for spec in signatures().values()))
    assert wanted - found == set()
    some = set[Enum]().union(*(members(spec) for spec in representatives().values()))
    assert some == found


@pytest.mark.proves(claim="multiply-adds", against="torch's FLOP counter", tolerance="equal")
@every_signature
def test_shapes_and_counts(name: str) -> None:
    spec = signatures()[name]
    with torch.device("meta"):
        model = ViT(spec)
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert {key: tuple(t.shape) for key, t in model.state_dict().items()} == native_shapes(spec)
    zeros = sum(spec.kv_heads) * spec.dim_per_head if spec.qkv_bias is QKVBias.QV else 0
    assert count_parameters(spec) == sum(p.numel() for p in model.parameters()) - zeros
    # The counter does not know the fused attention kernel of the CPU.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        build(spec)(pictures(spec))
    assert counter.get_total_flops() == 2 * count_macs(spec, batch=2)


@every_signature
def test_initialisation_fills_everything_and_is_reproducible(name: str) -> None:
    models = []
    for seed in (7, 7, 8):
        model = ViT(signatures()[name])
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.fill_(torch.nan)  # so that a tensor which is left as it was allocated shows
        models.append(model.init_weights(seed).state_dict())
    first, again, other = models
    assert [key for key, tensor in first.items() if not tensor.isfinite().all()] == []
    assert [key for key, tensor in again.items() if not torch.equal(tensor, first[key])] == []
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])


@every_signature
@torch.no_grad()
def test_forward(name: str) -> None:
    spec = signatures()[name]
    model, x = build(spec), pictures(spec)
    exact = model(x)
    assert exact.shape == output_shape(spec, 2)
    assert exact.isfinite().all()
    assert (exact[0] - exact[1]).abs().max() > 1e-3
    equal(model(x[1:]), exact[1:])
    assert model(x[:0]).shape == output_shape(spec, 0)
    half = copy.deepcopy(model).bfloat16()(x.bfloat16())
    assert half.dtype is torch.bfloat16
    assert (half.float() - exact).norm() < 0.05 * exact.norm()
    for size in ((32, 48), (64, 40), (8, 8)):
        grown = spec.replace(img_size=size)
        assert model(pictures(spec, 1, size)).shape == output_shape(grown, 1)


@every_signature
@torch.no_grad()
def test_intermediates_and_tokens(name: str) -> None:
    spec = signatures()[name]
    model, x = build(spec), pictures(spec, size=(32, 48))
    prefix, final = spec.num_prefix_tokens, model.forward_features(x)
    equal(model.forward_head(final), model(x))
    tokens = model.tokens(x)
    kinds = [t[:, None] for t in (tokens.cls, tokens.dist) if t is not None]
    equal(torch.cat([*kinds, tokens.registers, tokens.patches], 1), final)
    assert tokens.grid == (4, 6)
    last, taken = model.forward_intermediates(x, norm=True, return_prefix_tokens=True)
    equal(last, final)
    assert [(tuple(f.shape), tuple(p.shape)) for f, p in taken] == [((2, 32, 4, 6), (2, prefix, 32))] * 2
    equal(taken[-1][0].flatten(2).mT, final[:, prefix:])
    equal(taken[-1][1], final[:, :prefix])
    first = model.forward_intermediates(x, [0], norm=True, stop_early=True, intermediates_only=True)
    equal(first[0], taken[0][0])
    layers = model.get_intermediate_layers(x, 1, norm=True)
    equal(layers[0], tokens.patches)


@every_signature
def test_every_parameter_learns_and_checkpointing_changes_nothing(name: str) -> None:
    spec = signatures()[name]
    model, x = build(spec).train(), pictures(spec)
    grads = gradients(model, x)
    idle = {key for key, grad in grads.items() if grad is None or grad.abs().max() < 1e-5}
    assert idle == {key for key in grads if cannot_learn(spec, key)}
    if spec.qkv_bias is QKVBias.QV:
        assert not any(grads[key][key_rows(model, key)].any() for key in grads if key.endswith("attn.qkv.bias"))
    model.set_grad_checkpointing()
    for key, grad in gradients(model, x).items():
        equal(grad, grads[key])


def cannot_learn(spec: ViTSpec, key: str) -> bool:
    """Fixed positions are not trained; softmax cancels what is added to every key alike, unless rotary turns it."""
    fixed = spec.pos_embed is specs.PosEmbed.FIXED and key.startswith("pos_embed.")
    cancels = spec.norm is Norm.LAYER and spec.rope is None and key.endswith("attn.k_norm.bias")
    return fixed or cancels


@every_signature
def test_optimiser_groups_hold_each_parameter_once(name: str) -> None:
    model = build(signatures()[name])
    trained = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    groups = param_groups_layer_decay(
        model, weight_decay=0.1, no_weight_decay_list=tuple(model.no_weight_decay()), layer_decay=0.5
    )
    taken = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(taken) == sorted(map(id, trained.values()))
    scale = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    scales = [scale[id(trained[f"blocks.{block}.attn.qkv.weight"])] for block in (0, 1)]
    assert scale[id(trained["patch_embed.proj.weight"])] < scales[0] < scales[1] <= 1
    assert decay[id(trained["blocks.0.attn.qkv.weight"])] == 0.1
    assert all(decay[id(trained[key])] == 0 for key in model.no_weight_decay() & trained.keys())
    assert model.no_weight_decay() <= dict(model.named_parameters()).keys()


@every_signature
@torch.no_grad()
def test_other_sizes_and_classifiers(name: str) -> None:
    spec = signatures()[name]
    model, x = build(spec), pictures(spec, size=(48, 64))
    before, trained = model(x), {key for key, p in model.named_parameters() if p.requires_grad}
    model.set_input_size((48, 64))
    equal(model(x), before)
    assert {key: tuple(t.shape) for key, t in model.state_dict().items()} == native_shapes(model.spec)
    assert {key for key, p in model.named_parameters() if p.requires_grad} == trained
    features = model.forward_head(model.forward_features(x), pre_logits=True)
    model.reset_classifier(0)
    equal(model(x), features)
    model.reset_classifier(3)
    assert model.spec == spec.replace(img_size=(48, 64), num_classes=3)
    assert model(x).shape == output_shape(model.spec, 2)
    assert {key: tuple(t.shape) for key, t in model.state_dict().items()} == native_shapes(model.spec)
    model.set_input_size(patch_size=16)
    assert model(x).isfinite().all()
    assert {key: tuple(t.shape) for key, t in model.state_dict().items()} == native_shapes(model.spec)


@every_signature
def test_copies(name: str) -> None:
    """A copy gives the same numbers, shares no memory, and still keeps the key's missing bias at zero."""
    spec = signatures()[name]
    model, x = build(spec), pictures(spec, 1)
    expected = model(x).detach()
    makers: tuple[Callable[[ViT], ViT], ...] = (
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        assigned,
    )
    for make in makers:
        other = make(model)
        assert torch.equal(other(x), expected)
        assert {p.data_ptr() for p in other.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())
        if spec.qkv_bias is QKVBias.QV:
            grads = gradients(other, x)
            assert not any(grads[key][key_rows(other, key)].any() for key in grads if key.endswith("attn.qkv.bias"))


def assigned(model: ViT) -> ViT:
    """A model built without memory that is given copies of the tensors, as a loader does it."""
    with torch.device("meta"):
        other = ViT(model.spec)
    other.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    return other.eval()


def shallow(spec: ViTSpec) -> ViTSpec:
    """One block where all blocks are alike: tracing costs as much for each."""
    return spec if isinstance(spec.num_kv_heads, tuple) else spec.replace(depth=1)


@some_signatures
@torch.no_grad()
def test_compile_has_no_graph_break(name: str) -> None:
    torch.compiler.reset()
    spec = shallow(representatives()[name])
    model = build(spec)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for size in (spec.img_size, (40, 64)):
        equal(compiled(pictures(spec, size=size)), model(pictures(spec, size=size)))


@torch.no_grad()
def test_compiled_code_is_not_taken_for_another_policy() -> None:
    torch.compiler.reset()
    spec = representatives()[next(iter(representatives()))].replace(pos_embed="learned")
    x = pictures(spec, size=(48, 64))
    models = [build(spec, policy) for policy in (Resample.TIMM, Resample.TORCHVISION, Resample.GOOGLE)]
    forward = torch.compile(ViT.forward, fullgraph=True, backend="eager")
    expected = [model(x) for model in models]
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    for model, values in zip(models, expected, strict=True):
        equal(forward(model, x), values)


@some_signatures
@torch.no_grad()
def test_export_with_dynamic_batch(name: str) -> None:
    spec = shallow(representatives()[name])
    model = build(spec)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (pictures(spec),), dynamic_shapes={"x": {0: batch}})
    equal(program.module()(pictures(spec, 5)), model(pictures(spec, 5)))


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
TRAINED, INFERRED, *_ = representatives().values()


@needs_compiler
def test_inductor_trains() -> None:
    torch.compiler.reset()
    model, x = build(TRAINED).train(), pictures(TRAINED)
    expected = gradients(model, x)
    model.compile(fullgraph=True)
    for key, grad in gradients(model, x).items():
        torch.testing.assert_close(grad, expected[key], atol=1e-4, rtol=1e-3)


@needs_compiler
@torch.no_grad()
def test_inductor_infers() -> None:
    torch.compiler.reset()
    model, x = build(INFERRED), pictures(INFERRED)
    torch.testing.assert_close(torch.compile(model, fullgraph=True)(x), model(x), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_swap_is_noticed() -> None:
    """Without this the comparisons above could be of numbers that depend on nothing."""
    for name, spec in representatives().items():
        model, x = build(spec), pictures(spec)
        before = model(x)
        first, second = (block.attn.proj.weight for block in model.blocks)
        kept = first.clone()
        first.copy_(second)
        second.copy_(kept)
        assert (model(x) - before).abs().max() > 1e-3, name


def test_norm_of_tokens_is_where_the_spec_says() -> None:
    spec = next(spec for spec in signatures().values() if spec.final_norm is FinalNorm.POOLED)
    model, x = build(spec), pictures(spec)
    plain = model.forward_features(x)
    nn.init.zeros_(model.norm.weight)
    equal(model.forward_features(x), plain)
