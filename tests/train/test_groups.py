"""Optimiser groups and schedules beside timm's, parameter by parameter and step by step."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import timm
import torch
from signatures import signatures
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.optim.muon import Muon
from timm.scheduler import create_scheduler_v2
from tiny import FIELDS
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

import vitzoo
from vitzoo import ViT, registry
from vitzoo.errors import TrainingError
from vitzoo.registry.recipes import load_recipe
from vitzoo.spec import HubSource
from vitzoo.train.groups import check_groups, freeze, layer_numbers, param_groups
from vitzoo.train.module import make_optimizer
from vitzoo.train.schedule import lr_factor

TINY = {**FIELDS, "hidden_dim": 32, "depth": 3, "num_heads": 2, "mlp_dim": 48}


def tiny(**fields: Any) -> ViT:
    return vitzoo.create(vitzoo.ViTSpec(**{**TINY, **fields}), generator=0)


def settings(groups: list[dict[str, Any]], names: Mapping[int, str], lr: float = 1.0) -> dict[str, tuple[float, float]]:
    """Each parameter's learning rate and weight decay; timm's `lr_scale` is what its schedulers make of it."""
    return {
        names[id(p)]: (group["lr"] if "lr" in group else lr * group["lr_scale"], group["weight_decay"])
        for group in groups
        for p in group["params"]
    }


def test_vit_b_has_timms_groups() -> None:
    """The same model twice on the meta device: ours, and timm's own with timm's own groups."""
    with torch.device("meta"):
        ours = ViT(vitzoo.ViTSpec(hidden_dim=768, depth=12, num_heads=12, mlp_dim=3072))
        theirs = timm.create_model("vit_base_patch16_224")
    recipe = load_recipe("adamw_layer_decay", lr=2e-3, weight_decay=0.05, layer_decay=0.65)
    found = settings(param_groups(ours, recipe), {id(p): name for name, p in ours.named_parameters()})
    groups = param_groups_layer_decay(
        theirs, weight_decay=0.05, no_weight_decay_list=theirs.no_weight_decay(), layer_decay=0.65
    )
    expected = settings(groups, {id(p): name for name, p in theirs.named_parameters()}, lr=2e-3)
    renamed = {"pos_embed": "pos_embed.grid", "head.weight": "head.fc.weight", "head.bias": "head.fc.bias"}
    expected = {renamed.get(name, name): value for name, value in expected.items()}
    # timm folds the class token's position into its table, and we keep it apart.
    expected["pos_embed.prefix"] = expected["pos_embed.grid"]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    assert found["blocks.0.attn.qkv.weight"] == pytest.approx((2e-3 * 0.65**12, 0.05))
    assert found["head.fc.weight"] == (2e-3, 0.05)


@pytest.mark.proves(claim="optimiser groups and schedules", against="timm", tolerance="equal")
@pytest.mark.parametrize(
    "name",
    [
        "clip_b16.laion2b_ft_in12k_in1k",
        "deit3_b16.fb_in1k",
        "deit_b16_distilled.fb_in1k",
        "rope_axial_b16.naver_in1k",
        "vit_so150m16_reg4.sbb_e250_in12k_ft_in1k",
    ],
)
def test_other_architectures_have_timms_layers_and_decay(name: str) -> None:
    """How many numbers each layer has, with weight decay and without."""
    tag = next(s.repo for s in registry.weights_entry(name).sources if isinstance(s, HubSource)).removeprefix("timm/")
    with torch.device("meta"):
        ours, theirs = ViT(registry.entry_spec(name)), timm.create_model(tag)
    recipe = load_recipe("full", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    groups = param_groups_layer_decay(
        theirs, weight_decay=0.1, no_weight_decay_list=theirs.no_weight_decay(), layer_decay=0.5
    )
    expected, found = (
        Counter({(scale, decay): sum(p.numel() for p in ps) for scale, decay, ps in each})
        for each in (
            ((g["lr_scale"], g["weight_decay"], g["params"]) for g in groups),
            ((g["lr"], g["weight_decay"], g["params"]) for g in param_groups(ours, recipe)),
        )
    )
    assert found == expected


@pytest.mark.parametrize("name", signatures())
def test_each_architecture_decays_matrices_of_linear_layers_alone(name: str) -> None:
    model = vitzoo.create(signatures()[name])
    groups = param_groups(model, load_recipe("adamw_layer_decay", weight_decay=0.3))
    decayed = {name for group in groups if group["weight_decay"] for name in group["names"]}
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    assert decayed == linear
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())
    assert all(isinstance(group["lr"], float) and "lr_scale" not in group for group in groups)


def test_layers_follow_the_spec() -> None:
    layers = layer_numbers(tiny(reg_tokens=2, layer_scale=1e-5))
    assert set(layers.values()) == {0, 1, 2, 3, 4}
    for name, number in layers.items():
        first, _, rest = name.partition(".")
        expected = {"blocks": lambda r=rest: int(r.partition(".")[0]) + 1, "norm": lambda: 3, "head": lambda: 4}
        assert number == expected.get(first, lambda: 0)(), name


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("head", {"head"}),
        ("last-1", {"blocks.2", "norm", "head"}),
        ("last-3", {"blocks.0", "blocks.1", "blocks.2", "norm", "head"}),
        ("full", {"patch_embed", "cls_token", "pos_embed", "blocks.0", "blocks.1", "blocks.2", "norm", "head"}),
    ],
)
def test_what_is_trained(trainable: str, expected: set[str]) -> None:
    model = tiny()
    freeze(model, trainable)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {".".join(name.split(".")[: 2 if name.startswith("blocks") else 1]) for name in trained} == expected
    recipe = load_recipe("full", trainable=trainable)
    assert {name for group in param_groups(model, recipe) for name in group["names"]} == trained


def test_the_head_alone_does_not_train_what_is_below_its_classifier() -> None:
    model = tiny(class_token=False, pos_prefix="none", pool="map", head="pre_logits")
    freeze(model, "head")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"head.fc.weight", "head.fc.bias"}


def test_a_fixed_table_stays_fixed_and_too_many_blocks_are_refused() -> None:
    model = tiny(pos_embed="fixed")
    freeze(model, "full")
    assert not model.pos_embed.grid.requires_grad
    with pytest.raises(TrainingError, match="'last-4' names 4 blocks, the model has 3"):
        freeze(model, "last-4")


def test_a_parameter_that_no_group_took_is_an_error() -> None:
    model = tiny()
    groups = param_groups(model, load_recipe("full"))
    lost = groups[-1]["params"].pop()
    with pytest.raises(
        TrainingError, match=r"head.fc.* is in 0 groups; expected each trainable parameter in one group"
    ):
        check_groups(model, groups)
    groups[-1]["params"] += [lost, lost]
    with pytest.raises(TrainingError, match=r"head.fc.* is in 2 groups"):
        check_groups(model, groups)
    groups[-1]["params"][-1] = nn.Parameter(torch.zeros(1))
    with pytest.raises(TrainingError, match="1 parameters of the groups are not trainable parameters of the model"):
        check_groups(model, groups)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameter is trainable"):
        param_groups(model, load_recipe("full"))


def test_muon_gets_the_matrices_of_the_blocks() -> None:
    model = tiny(class_token=False, pos_prefix="none", pool="avg")
    optimizer = make_optimizer(model, load_recipe("vit_nano4_cifar10"))
    assert isinstance(optimizer, Muon)
    muon = {n for g in optimizer.param_groups if not g.get("use_fallback") for n in g["names"]}
    assert muon == {n for n, p in model.named_parameters() if n.startswith("blocks.") and p.ndim == 2}
    assert {g["lr"] for g in optimizer.param_groups if g.get("use_fallback")} == {2e-3}
    assert {g["lr"] for g in optimizer.param_groups if not g.get("use_fallback")} == {6e-3}


def test_what_muon_leaves_over_is_plain_adamw_and_its_own_updates_are_orthogonal() -> None:
    recipe = load_recipe("vit_nano4_cifar10", weight_decay=0.0)
    model, peer = (
        tiny(class_token=False, pos_prefix="none", pool="avg"),
        tiny(class_token=False, pos_prefix="none", pool="avg"),
    )
    optimizer = make_optimizer(model, recipe)
    plain = torch.optim.AdamW(peer.parameters(), lr=2e-3, weight_decay=0.0)
    torch.manual_seed(0)
    for _ in range(3):
        before = model.blocks[0].mlp.fc1.weight.detach().clone()
        for p, q in zip(model.parameters(), peer.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        optimizer.step()
        plain.step()
    for name in ("patch_embed.proj.weight", "pos_embed.grid", "norm.bias", "head.fc.weight"):
        torch.testing.assert_close(model.get_parameter(name), peer.get_parameter(name))
    # Five Newton-Schulz steps leave singular values between 0.7 and 1.2; scaled by 0.2 sqrt(48) as AdamW's updates are.
    values = torch.linalg.svdvals(model.blocks[0].mlp.fc1.weight.detach() - before) / (6e-3 * 0.2 * 48**0.5)
    assert 0.6 < values.min() < values.max() < 1.3


def test_optimisers_that_timm_does_not_know() -> None:
    with pytest.raises(TrainingError, match=r"unknown optimizer 'adamwx'; did you mean .*adamw"):
        make_optimizer(tiny(), load_recipe("full", optimizer="adamwx"))
    with pytest.raises(TrainingError, match=r"optimizer adamw with .*moment"):
        make_optimizer(tiny(), load_recipe("full", optimizer_args={"moment": 1}))


@pytest.mark.parametrize("optimizer", ["adamw", "momentum"])
def test_one_step_is_timms_step(optimizer: str) -> None:
    """The groups of timm's own factory, after timm's scheduler has put its lr_scale into effect."""
    recipe = load_recipe("adamw_layer_decay", optimizer=optimizer, lr=0.1, weight_decay=0.3)
    results = []
    for ours in (True, False):
        model = tiny()
        if ours:
            opt = make_optimizer(model, recipe)
        else:
            opt = create_optimizer_v2(model, optimizer, 0.1, 0.3, layer_decay=recipe.layer_decay)
            create_scheduler_v2(opt, "constant", num_epochs=1)
        torch.manual_seed(0)
        model(torch.randn(2, 3, 32, 32)).square().sum().backward()
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        opt.step()
        results.append({name: p.detach().clone() for name, p in model.named_parameters()})
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.proves(claim="optimiser groups and schedules", against="timm", tolerance="equal")
@pytest.mark.parametrize("warmup", [0.0, 1.5, 2.0])
@pytest.mark.parametrize(("schedule", "theirs"), [("cosine", "cosine"), ("linear", "poly"), ("constant", "constant")])
def test_schedules_are_timms_step_by_step(schedule: str, theirs: str, warmup: float) -> None:
    recipe = load_recipe(
        "full", schedule=schedule, warmup_epochs=warmup, epochs=5, lr=0.2, min_lr=0.01, layer_decay=0.5
    )
    per_epoch = 6
    mine, other = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2) for _ in range(2))
    mine.param_groups[0]["lr"] = 0.1
    other.param_groups[0]["lr_scale"] = 0.5
    ours = LambdaLR(mine, lr_factor(recipe, per_epoch))
    peer, _ = create_scheduler_v2(
        other,
        theirs,
        num_epochs=recipe.epochs - warmup,
        warmup_epochs=warmup,
        warmup_prefix=True,
        warmup_lr=0.0,
        min_lr=recipe.min_lr,
        decay_rate=1.0,
        step_on_epochs=False,
        updates_per_epoch=per_epoch,
    )
    peer.step_update(0)
    rates = []
    for step in range(recipe.epochs * per_epoch + 1):
        rates.append(mine.param_groups[0]["lr"])
        assert rates[-1] == pytest.approx(other.param_groups[0]["lr"], abs=1e-12), step
        mine.step()
        ours.step()
        peer.step_update(step + 1)
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.1 if schedule == "constant" else 0.005)
