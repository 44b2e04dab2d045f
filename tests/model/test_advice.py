"""What errors of specs and of the model itself say to do is done: the same works after it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from advice import check, remedy

from vitzoo import ViT
from vitzoo.model.resample import resample_patch_kernel, resample_rel_pos, resample_table
from vitzoo.spec import Preprocessing, Resample, ViTSpec
from vitzoo.spec.keywords import ELSEWHERE

AXIAL, DINOV3 = {"kind": "axial", "theta": 100.0}, {"kind": "dinov3", "theta": 100.0}
CLIP = {"num_classes": 0, "head": "projection", "out_dim": 20}
NO_CLASS = {"class_token": False, "pos_prefix": "none"}
BATCH = torch.zeros(1, 3, 32, 32)
Step = Callable[[], object]


def spec(**fields: Any) -> ViTSpec:
    """By the way on which values are said to be wrong as a user sees it."""
    return tiny.spec().replace(**fields)


def vit(**fields: Any) -> ViT:
    return ViT(tiny.spec(**fields))


CASES = [
    remedy(
        "offset and ref_grid belong to kind 'axial'",
        lambda: spec(head_dim=12, rope={**DINOV3, "offset": 1.0}),
        lambda: (spec(head_dim=12, rope=DINOV3), spec(head_dim=12, rope={**AXIAL, "offset": 1.0})),
    ),
    remedy(
        "stored periods belong to kind 'dinov3'",
        lambda: spec(head_dim=12, rope={**AXIAL, "stored": True}),
        lambda: (spec(head_dim=12, rope=AXIAL), spec(head_dim=12, rope={**DINOV3, "stored": True})),
    ),
    remedy("; the nearest size is ", lambda: spec(img_size=(33, 30)), lambda: spec(img_size=(32, 32))),
    remedy(
        "; change one of them or give head_dim",
        lambda: spec(num_heads=5),
        lambda: (spec(num_heads=4), spec(num_heads=5, hidden_dim=25), spec(num_heads=5, head_dim=8)),
    ),
    remedy(
        "dist_token needs class_token",
        lambda: spec(dist_token=True, **NO_CLASS),
        lambda: spec(dist_token=True, class_token=True),
    ),
    remedy(
        "pos_prefix 'cls' needs class_token; use pos_prefix 'none'",
        lambda: spec(class_token=False, pool="avg"),
        lambda: spec(class_token=False, pool="avg", pos_prefix="none"),
    ),
    remedy(
        "; use pool 'avg' or give ",
        lambda: spec(**NO_CLASS),
        lambda: (spec(**NO_CLASS, pool="avg"), spec(class_token=True)),
    ),
    remedy(
        "head 'distilled' and pool 'cls_dist' belong together",
        lambda: spec(head="distilled", dist_token=True),
        lambda: spec(head="distilled", pool="cls_dist", dist_token=True),
    ),
    remedy(
        "; leave it out, or use head 'linear'",
        lambda: spec(**{**CLIP, "num_classes": 3}),
        lambda: (spec(**CLIP), spec(num_classes=3, head="linear")),
    ),
    remedy(
        "head 'projection' and out_dim belong together",
        lambda: spec(num_classes=0, head="projection"),
        lambda: spec(**CLIP),
    ),
    remedy(
        " blocks, the model has ",
        lambda: spec(num_kv_heads=(1, 1, 1)),
        lambda: spec(num_kv_heads=(1, 1)),
    ),
    remedy(" is not divisible by num_kv_heads ", lambda: spec(num_kv_heads=2), lambda: spec(num_kv_heads=3)),
    remedy(
        "rope needs heads of a width divisible by 4",
        lambda: spec(hidden_dim=30, rope=AXIAL),
        lambda: spec(hidden_dim=36, rope=AXIAL),
    ),
    remedy(
        "it needs class_token and no other prefix",
        lambda: spec(rel_pos="block", reg_tokens=2),
        lambda: spec(rel_pos="block", class_token=True, reg_tokens=0),
    ),
    remedy(
        ": give an even width",
        lambda: spec(attention="diff", head_dim=7),
        lambda: spec(attention="diff", head_dim=8),
    ),
    remedy(
        "' cannot be combined with rope, rel_pos or num_kv_heads",
        lambda: spec(attention="diff", rel_pos="block"),
        lambda: (spec(attention="diff"), spec(rel_pos="block")),
    ),
    remedy(
        " is not divisible by the heads of pool map; give pool_heads",
        lambda: spec(pool="map", num_heads=5, head_dim=8),
        lambda: spec(pool="map", num_heads=5, head_dim=8, pool_heads=3),
    ),
    remedy(
        " dimensions, which are no classes: leave ",
        lambda: spec(**CLIP).replace(num_classes=20),
        lambda: (spec(**CLIP).replace(), spec(**CLIP).replace(num_classes=20, head="linear")),
    ),
    remedy(
        "; give one of each a channel",
        lambda: Preprocessing().replace(mean=(0.5,), std=(0.5, 0.5)),
        lambda: Preprocessing(mean=(0.5, 0.5), std=(0.5, 0.5)),
    ),
    remedy(
        "; give a larger white",
        lambda: Preprocessing().replace(black=5.0, white=5.0),
        lambda: Preprocessing().replace(black=5.0, white=6.0),
    ),
    remedy(
        "' is unknown; use 'NCHW' or 'NLC'",
        lambda: vit().forward_intermediates(BATCH, output_fmt="NHWC"),
        lambda: [vit().forward_intermediates(BATCH, output_fmt=one) for one in ("NCHW", "NLC")],
    ),
    remedy(
        " are out of range; the model has blocks 0 to ",
        lambda: vit().forward_intermediates(BATCH, indices=[2]),
        lambda: vit().forward_intermediates(BATCH, indices=[0, 1]),
    ),
    remedy(
        " wide and does not fit pool '",
        lambda: vit(pool="avg", final_norm="pooled").reset_classifier(3, "cls_avg"),
        lambda: vit(pool="avg", final_norm="pooled").reset_classifier(3),
    ),
    remedy(
        "attn_mask and is_causal exclude each other; give one of them",
        lambda: vit().forward_intermediates(BATCH, attn_mask=torch.ones(17, 17).bool(), is_causal=True),
        lambda: (
            vit().forward_intermediates(BATCH, attn_mask=torch.ones(17, 17).bool()),
            vit().forward_intermediates(BATCH, is_causal=True),
        ),
    ),
    remedy(
        " classes; give one name for each",
        lambda: setattr(vit(), "labels", ("a", "b")),
        lambda: setattr(vit(), "labels", tuple("abcde")),
    ),
    remedy("expected pictures of shape (batch, ", lambda: vit()(BATCH[0]), lambda: vit()(BATCH)),
    remedy(
        "; resize or pad it",
        lambda: vit()(torch.zeros(1, 3, 32, 33)),
        lambda: (
            vit()(torch.nn.functional.interpolate(torch.zeros(1, 3, 32, 33), (32, 32))),
            vit()(torch.nn.functional.pad(torch.zeros(1, 3, 32, 33), (0, 7))),
        ),
    ),
    remedy(
        "split the prefix slots off, restore the grid and convert integers first",
        lambda: resample_table(torch.ones(1, 17, 24, dtype=torch.int32), (2, 2), Resample.TIMM),
        lambda: resample_table(
            torch.ones(1, 17, 24, dtype=torch.int32)[0, 1:].view(4, 4, 24).float(), (2, 2), Resample.TIMM
        ),
    ),
    remedy(
        "; use a picture no smaller than one patch",
        lambda: resample_table(torch.ones(4, 4, 24), (0, 2), Resample.TIMM),
        lambda: resample_table(torch.ones(4, 4, 24), (1, 2), Resample.TIMM),
    ),
    remedy(
        "' does not say how relative positions are resampled; take ",
        lambda: resample_rel_pos(torch.ones(7, 7, 3), (2, 2), Resample.MAE),
        lambda: [resample_rel_pos(torch.ones(7, 7, 3), (2, 2), one) for one in (Resample.TIMM, Resample.HUGGINGFACE)],
    ),
    remedy(
        "; reshape a flattened projection and convert integers first",
        lambda: resample_patch_kernel(torch.ones(24, 192, dtype=torch.int32), (4, 4)),
        lambda: resample_patch_kernel(torch.ones(24, 192, dtype=torch.int32).view(24, 3, 8, 8).float(), (4, 4)),
    ),
    remedy(
        "; give a larger patch_size",
        lambda: resample_patch_kernel(torch.ones(24, 3, 8, 8), (0, 4)),
        lambda: resample_patch_kernel(torch.ones(24, 3, 8, 8), (4, 4)),
    ),
    remedy(
        "expected null (None in Python), or an object with ",
        lambda: spec(head_dim=12, rope="none"),
        lambda: (spec(head_dim=12, rope=None), spec(head_dim=12, rope={"kind": "axial", "theta": 100})),
    ),
]


@pytest.mark.parametrize(("fails", "works"), CASES)
def test_what_the_error_says_works(fails: Step, works: Step) -> None:
    check(fails, works)


@pytest.mark.follows(" weights are resampled; take pictures of the weights' own size, or choose a policy with ")
@pytest.mark.parametrize("policy", [policy for policy in Resample if policy is not Resample.SINCOS2D])
def test_a_policy_is_chosen_from_those_that_are_named(policy: Resample) -> None:
    table = torch.ones(4, 4, 24)
    with pytest.raises(Exception, match=policy.value):
        resample_table(table, (2, 2), None)
    assert resample_table(table, (4, 4), None) is table
    assert resample_table(table, (2, 2), policy).shape == (2, 2, 24)


def test_names_of_other_libraries_lead_to_fields_that_there_are() -> None:
    """ "It is hidden_dim here": what is named exists, and takes a value."""
    for name, text in ELSEWHERE.items():
        for field in re.findall(r"it is (\w+) here", text):
            assert field in ViTSpec.model_fields or field in ("dtype", "device"), name
