"""The engine of the layouts: axis patterns, rules and bindings, on tables and models small enough to see through."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import einops
import pytest
import torch
from torch import Tensor

from vitzoo.errors import LayoutError, SpecError
from vitzoo.layouts.axes import axis_lengths, move, moved_shape
from vitzoo.layouts.layout import ANY, Layout
from vitzoo.layouts.rules import (
    Binding,
    Drop,
    Fixed,
    Implied,
    Join,
    Piece,
    Rule,
    Zeros,
    axis_sizes,
    module,
    positions,
    same,
)
from vitzoo.layouts.tables import GROUPS, LAYOUTS, get_layout, layout_for
from vitzoo.spec import Shape, ViTSpec
from vitzoo.spec.tensors import native_shapes

SPEC = ViTSpec(
    img_size=(4, 6), patch_size=2, hidden_dim=8, depth=2, num_heads=4, num_kv_heads=(4, 2), mlp_dim=12, num_classes=3
)


def numbered(*shape: int, start: int = 0) -> Tensor:
    """Every value once, so that no two orders of axes look alike."""
    return (torch.arange(int(torch.tensor(shape).prod())) + start).float().reshape(shape)


def bound(*rules: Rule, native: Mapping[str, Shape], spec: ViTSpec = SPEC) -> Binding:
    return Binding("tiny", rules, spec, native)


# --- axis patterns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "shape", "expected"),
    [
        ("a b -> b a", (2, 3), lambda t: t.T),
        ("1 n d -> n d", (1, 5, 2), lambda t: t[0]),
        ("n d -> 1 n d", (5, 2), lambda t: t[None]),
        ("d -> 1 1 d", (4,), lambda t: t.reshape(1, 1, 4)),
        (
            "rows cols d -> (rows cols) d",
            (2, 3, 4),
            lambda t: torch.stack([t[i, j] for i in range(2) for j in range(3)]),
        ),
        # Google's query: a kernel (in, heads, width) is a matrix whose rows go head by head.
        ("d h k -> (h k) d", (3, 4, 2), lambda t: torch.stack([t[:, h, k] for h in range(4) for k in range(2)])),
        ("h k d -> d (h k)", (4, 2, 3), lambda t: torch.stack([t[h, k] for h in range(4) for k in range(2)], dim=1)),
        # The first of a group is the slowest.
        ("(num_heads k) d -> num_heads d k", (8, 3), lambda t: torch.stack([t[2 * h : 2 * h + 2].T for h in range(4)])),
        ("(k num_heads) d -> num_heads d k", (8, 3), lambda t: torch.stack([t[h::4].T for h in range(4)])),
        (
            "patch_rows patch_cols in_chans d -> d in_chans patch_rows patch_cols",
            (2, 2, 3, 5),
            lambda t: t.permute(3, 2, 0, 1),
        ),
    ],
)
def test_a_pattern_does_what_einops_would(pattern: str, shape: Shape, expected: Any) -> None:
    tensor, sizes = numbered(*shape), axis_sizes(SPEC, 0)
    moved = move(pattern, tensor, sizes)
    assert torch.equal(moved, expected(tensor))
    told = {"num_heads": 4} if "num_heads" in pattern else {}
    assert torch.equal(moved, einops.rearrange(tensor, pattern, **told))
    assert moved_shape(pattern, shape, sizes) == tuple(moved.shape)
    # Read from right to left it is its own inverse, once the sizes within the brackets are known.
    known = axis_lengths(pattern, shape, sizes)
    assert torch.equal(move(pattern, moved, known, back=True), tensor)
    assert moved_shape(pattern, tuple(moved.shape), known, back=True) == shape


def test_no_pattern_is_no_change() -> None:
    tensor = numbered(2, 3)
    assert move(None, tensor, {}) is tensor
    assert moved_shape(None, (2, 3), {}, back=True) == (2, 3)


@pytest.mark.parametrize(
    ("pattern", "shape"),
    [
        ("a b -> b a", (2,)),  # too few axes
        ("a -> a", (2, 3)),  # too many
        ("1 n d -> n d", (2, 5, 3)),  # an axis of 1 that is none
        ("(num_heads k) d -> num_heads k d", (7, 3)),  # not divisible
        ("(num_heads kv_heads) -> num_heads kv_heads", (15,)),  # all known, and their product is another
        ("(a b) -> a b", (6,)),  # neither is known
    ],
)
def test_a_tensor_without_the_patterns_axes_is_refused(pattern: str, shape: Shape) -> None:
    with pytest.raises(LayoutError, match=r"a tensor of shape \[.*\] does not have the axes of '"):
        move(pattern, numbered(*shape), axis_sizes(SPEC, 0))


def test_axis_sizes_are_those_of_the_block() -> None:
    assert axis_sizes(SPEC, 0) == {
        "rows": 2,
        "cols": 3,
        "rel_rows": 3,
        "rel_cols": 5,
        "patch_rows": 2,
        "patch_cols": 2,
        "in_chans": 3,
        "num_heads": 4,
        "kv_heads": 4,
        "kv_dim": 8,
        "pool_heads": 4,
        "depth": 2,
    }
    assert {n: v for n, v in axis_sizes(SPEC, 1).items() if v != axis_sizes(SPEC, 0)[n]} == {"kv_heads": 2, "kv_dim": 4}
    assert axis_sizes(SPEC.replace(pool="map", pool_heads=2), 0)["pool_heads"] == 2


# --- joins -----------------------------------------------------------------------------------------------------------


def test_a_join_splits_by_its_sizes_and_puts_together_again() -> None:
    """Grouped queries: block 0 has as many rows of keys as of queries, block 1 half of them."""
    pieces = (Piece("{i}.q"), Piece("{i}.k", size="kv_dim"), Piece("{i}.v", size="kv_dim"))
    native = {"blocks.0.qkv": (24, 8), "blocks.1.qkv": (16, 8)}
    binding = bound(Join(pieces, (Piece("blocks.{i}.qkv"),)), native=native)
    assert binding.stored == {
        "0.q": (8, 8),
        "0.k": (8, 8),
        "0.v": (8, 8),
        "1.q": (8, 8),
        "1.k": (4, 8),
        "1.v": (4, 8),
    }
    whole = {name: numbered(*shape) for name, shape in native.items()}
    stored = binding.export_all(whole)
    assert torch.equal(stored["1.k"], whole["blocks.1.qkv"][8:12])
    assert torch.equal(stored["1.v"], whole["blocks.1.qkv"][12:])
    assert all(torch.equal(tensor, whole[name]) for name, tensor in binding.import_all(stored).items())


def test_a_join_of_one_tensor_and_two_native_ones() -> None:
    binding = bound(positions("table"), native={"pos_embed.grid": (2, 3, 8), "pos_embed.prefix": (1, 8)})
    assert binding.stored == {"table": (1, 7, 8)}
    table = numbered(1, 7, 8)
    native = binding.import_all({"table": table})
    assert torch.equal(native["pos_embed.prefix"], table[0, :1])
    assert torch.equal(native["pos_embed.grid"], table[0, 1:].reshape(2, 3, 8))
    assert torch.equal(binding.export_all(native)["table"], table)
    # A rule applies to those of its native tensors that the architecture has.
    assert bound(positions("table"), native={"pos_embed.grid": (2, 3, 8)}).stored == {"table": (1, 6, 8)}


def test_a_join_along_another_axis_and_with_leaves_of_another_name() -> None:
    native = {"a": (2, 3), "b": (2, 5)}
    binding = bound(Join((Piece("both"),), (Piece("a"), Piece("b")), axis=1), native=native)
    assert binding.stored == {"both": (2, 8)}
    assert torch.equal(binding.import_all({"both": numbered(2, 8)})["b"], numbered(2, 8)[:, 3:])
    flax = {"weight": ("kernel", "i o -> o i"), "bias": ("bias", None)}
    dense = bound(*module("Dense", "fc", flax, "/"), native={"fc.weight": (2, 3), "fc.bias": (2,)})
    assert dense.stored == {"Dense/kernel": (3, 2), "Dense/bias": (2,)}
    assert torch.equal(
        dense.import_all({"Dense/kernel": numbered(3, 2), "Dense/bias": numbered(2)})["fc.weight"], numbered(3, 2).T
    )


def test_zeros_are_filled_in_and_checked_on_export() -> None:
    rule = Join((Piece("q"), Zeros(), Piece("v")), (Piece("bias"),))
    binding = bound(rule, native={"bias": (6,)})
    native = binding.import_all({"q": torch.tensor([1.0, 2.0]), "v": torch.tensor([5.0, 6.0])})
    assert native["bias"].tolist() == [1, 2, 0, 0, 5, 6]
    assert {key: t.tolist() for key, t in binding.export_all(native).items()} == {"q": [1, 2], "v": [5, 6]}
    native["bias"][3] = -0.25
    with pytest.raises(LayoutError, match=r"layout 'tiny' has no place for a part of bias .* zero .* up to 0.25"):
        binding.export_all(native)
    native["bias"][3] = float("nan")
    with pytest.raises(LayoutError, match="no place for a part of bias"):
        binding.export_all(native)


def test_zeros_alone_take_the_files_type() -> None:
    binding = bound(same("w", "w"), Join((Zeros(),), (Piece("bias"),)), native={"w": (2,), "bias": (3,)})
    native = binding.import_all({"w": torch.ones(2, dtype=torch.float16)})
    assert native["bias"].dtype is torch.float16
    assert not native["bias"].any()


def test_what_the_spec_implies_is_filled_in_and_checked_on_export() -> None:
    rule = Join(
        (Implied(lambda spec: torch.full((2,), float(spec.depth)), size="depth"), Piece("rest")), (Piece("all"),)
    )
    binding = bound(rule, native={"all": (5,)})
    native = binding.import_all({"rest": numbered(3)})
    assert native["all"].tolist() == [2, 2, 0, 1, 2]
    assert binding.export_all(native)["rest"].tolist() == [0, 1, 2]
    native["all"][0] = 3.0
    with pytest.raises(LayoutError, match=r"part of all that has to be what the architecture implies there.*up to 1;"):
        binding.export_all(native)


def test_a_masked_piece_reads_zeros_whatever_is_there_and_stores_zeros_alone() -> None:
    binding = bound(Join((Piece("bias", masked=True),), (Piece("qkv"),)), native={"qkv": (6,)})
    stored = torch.tensor([1.0, 2.0, float("nan"), 9.0, 5.0, 6.0])
    native = binding.import_all({"bias": stored})
    assert native["qkv"].tolist() == [1, 2, 0, 0, 5, 6]
    assert binding.export_all(native)["bias"].tolist() == [1, 2, 0, 0, 5, 6]
    with pytest.raises(LayoutError, match="no place for a part of qkv that has to be zero"):
        binding.export_all({"qkv": numbered(6)})


def test_stacked_blocks_are_one_tensor() -> None:
    rule = Join((Piece("kernel", "i o -> o i"),), (Piece("blocks.{i}.fc"),), stacked=True)
    binding = bound(rule, native={f"blocks.{i}.fc": (3, 2) for i in range(2)})
    assert binding.stored == {"kernel": (2, 2, 3)}
    kernel = numbered(2, 2, 3)
    native = binding.import_all({"kernel": kernel})
    assert torch.equal(native["blocks.1.fc"], kernel[1].T)
    assert torch.equal(binding.export_all(native)["kernel"], kernel)


def test_given_chooses_between_rules_and_a_field_within_a_field() -> None:
    rules = (
        Join((Piece("kept"),), (Piece("w"),), given={"class_token": True, "qkv_bias": ("all", "none")}),
        Join((Piece("other"),), (Piece("w"),), given={"class_token": False}),
    )
    assert set(bound(*rules, native={"w": (1,)}).stored) == {"kept"}
    avg = SPEC.replace(class_token=False, pool="avg", pos_prefix="none")
    assert set(bound(*rules, native={"w": (1,)}, spec=avg).stored) == {"other"}
    with pytest.raises(LayoutError, match="layout 'tiny' cannot hold the model's w"):
        bound(*rules, native={"w": (1,)}, spec=SPEC.replace(qkv_bias="qv"))
    turned = (same("a", "w", **{"rope.kind": "mixed"}), same("b", "w", **{"rope.kind": None}))
    assert set(bound(*turned, native={"w": (1,)}).stored) == {"b"}
    wide = SPEC.replace(hidden_dim=16, rope={"kind": "mixed", "theta": 10.0})
    assert set(bound(*turned, native={"w": (1,)}, spec=wide).stored) == {"a"}


def test_a_report_says_in_words_what_a_rule_does() -> None:
    rules: tuple[Join, ...] = (
        same("a", "a"),
        same("b", "b", "i o -> o i"),
        Join((Piece("q"), Zeros(), Piece("v")), (Piece("c"),)),
        Join((Piece("m", masked=True),), (Piece("d"),)),
    )
    steps = bound(*rules, native={"a": (1,), "b": (2, 3), "c": (6,), "d": (3,)}).steps
    assert [step.transform for step in steps] == [
        "same",
        "i o -> o i",
        "3 to 1 along axis 0; zeros where nothing is stored",
        "masked key bias taken as zeros",
    ]


# --- a closed list ---------------------------------------------------------------------------------------------------


def test_a_native_tensor_without_a_rule_or_with_two_is_refused() -> None:
    with pytest.raises(LayoutError, match="layout 'tiny' cannot hold the model's b"):
        bound(same("a", "a"), native={"a": (1,), "b": (1,)})
    with pytest.raises(LayoutError, match="layout 'tiny' cannot hold the model's a"):
        bound(same("a", "a"), same("again", "a"), native={"a": (1,)})
    with pytest.raises(LayoutError, match="layout 'tiny' names twice: x"):
        bound(same("x", "a"), same("x", "b"), native={"a": (1,), "b": (1,)})
    many = {f"n{i}": (1,) for i in range(9)}
    with pytest.raises(LayoutError, match="n0, n1, n2, n3 and 5 more"):
        bound(native=many)


def test_missing_surplus_and_wrongly_shaped_tensors_show_both_sides() -> None:
    binding = bound(same("a", "a"), same("b", "b"), same("c", "c"), native={"a": (2, 3), "b": (4,), "c": (1,)})
    tensors = {"b": torch.zeros(5), "c": torch.zeros(1), "d": torch.zeros(7, 1)}
    with pytest.raises(LayoutError) as error:
        binding.import_all(tensors, "weights.pth")
    assert str(error.value) == (
        "weights.pth does not fit layout 'tiny' of this architecture; missing 1: a [2, 3]; "
        "not expected 1: d [7, 1]; shape of b: expected [4], found [5]; take another copy of it"
    )


def test_fixed_tensors_are_checked_and_written() -> None:
    rules = (
        same("w", "w"),
        Fixed("{i}.mask", lambda spec, i: torch.tensor([1.0, float(i)]), "follows"),
        Fixed("ids", lambda spec, i: torch.arange(2), "unused", checked=False),
        Fixed("never", lambda spec, i: torch.zeros(1), "unused", given={"class_token": False}),
    )
    binding = bound(*rules, native={"w": (2,)})
    assert binding.stored == {"w": (2,), "0.mask": (2,), "1.mask": (2,), "ids": (2,)}
    written = binding.export_all({"w": numbered(2)})
    assert {key: t.tolist() for key, t in written.items()} == {
        "w": [0, 1],
        "0.mask": [1, 0],
        "1.mask": [1, 1],
        "ids": [0, 1],
    }
    nan = float("nan")
    assert binding.check({key: tuple(t.shape) for key, t in written.items()}, "file") == {"ids": "unused"}
    binding.import_all({**written, "1.mask": torch.tensor([1.0, nan]), "ids": torch.tensor([7, 7])})
    for wrong in ([1.0, 2.0], [nan, 0.0]):
        with pytest.raises(LayoutError, match=r"file: 1\.mask is not what layout 'tiny' says of such a model"):
            binding.import_all({**written, "1.mask": torch.tensor(wrong)}, "file")
    with pytest.raises(LayoutError, match=r"shape of ids: expected \[2\], found \[3\]"):
        binding.import_all({**written, "ids": torch.zeros(3)})


def test_what_is_dropped_is_named_with_its_reason() -> None:
    rules = (
        same("w", "w"),
        Drop("decoder.*", "pretraining"),
        Drop("{i}.ids", "derived"),
        Drop("blocks.{i}.lora*", "another adapter"),
        Drop("buffer", "empty", empty=True),
    )
    binding = bound(*rules, native={"w": (1,)})
    found = {
        "w": (1,),
        "decoder.norm.weight": (3,),
        "12.ids": (1,),
        "blocks.3.lora.a": (2,),
        "buffer": (0, 4),
    }
    assert binding.check(found, "file") == {
        "decoder.norm.weight": "pretraining",
        "12.ids": "derived",
        "blocks.3.lora.a": "another adapter",
        "buffer": "empty",
    }
    for key, shape in {
        "decode": (1,),
        "x.ids": (1,),
        "blocks.3.l": (1,),
        "block.3.lora": (1,),
        "buffer": (1, 4),
    }.items():
        with pytest.raises(LayoutError, match="not expected 1: "):
            binding.check({"w": (1,), key: shape}, "file")


# --- layouts ---------------------------------------------------------------------------------------------------------

TINY = Layout(
    "tiny",
    (same("w", "patch_embed.proj.weight"), same("../head", "head.fc.weight")),
    holds={"class_token": ANY, "pool": ("cls", "avg"), "norm_eps": (1e-6, 1e-5)},
    origin="a test",
    scopes=("vit.", "visual."),
    prefixes=("module.", "teacher."),
    chunks="blocks",
    square=True,
    implies=(
        ({"class_token": False}, {"pool": ("avg",)}),
        ({"pool": ("cls", "avg")}, {"num_prefix_tokens": (0, 1)}),
        ({"pool": "avg"}, {"depth": (1, 2)}),
    ),
)
SQUARE = SPEC.replace(img_size=4, num_kv_heads=None)


def test_keys_are_seen_without_scope_prefix_and_chunk() -> None:
    stored = {"w", "../head"}
    for scope in ("vit.", "visual."):
        view = TINY.view([f"module.teacher.{scope}w", "module.head"], stored)
        assert view == {"w": f"module.teacher.{scope}w", "../head": "module.head"}
    # A file of the part alone has no scope, and what stands outside of it is known by its name.
    assert TINY.view(["w", "head"], stored) == {"w": "w", "../head": "head"}
    assert TINY.view(["vit.blocks.1.7.norm.weight", "vit.blocks.2.weight"], stored) == {
        "blocks.7.norm.weight": "vit.blocks.1.7.norm.weight",
        "blocks.2.weight": "vit.blocks.2.weight",
    }
    assert TINY.written(stored) == {"w": "vit.w", "../head": "head"}
    assert TINY.written({"w"}) == {"w": "w"}
    assert replace(TINY, scopes=()).written({"w"}) == {"w": "w"}


def test_one_tensor_under_two_names_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"w and module.w are one tensor in layout 'tiny', under two names; keep one"):
        TINY.view(["w", "module.w"], {"w"})
    with pytest.raises(LayoutError, match="are one tensor"):
        TINY.view(["blocks.0.3.l", "blocks.1.3.l"], set())


def test_refusals_name_each_field_and_what_there_could_be() -> None:
    assert TINY.refusals(SQUARE) == {}
    wrong = SQUARE.replace(pool="map", norm_pre=True, norm_eps=1e-4, img_size=(4, 8))
    assert TINY.refusals(wrong) == {
        "norm_eps": "norm_eps is 0.0001, and layout 'tiny' has norm_eps 1e-06 or 1e-05",
        "norm_pre": "norm_pre is True, and layout 'tiny' has norm_pre False",
        "pool": "pool is map, and layout 'tiny' has pool cls or avg",
        "img_size": "img_size is 4x8, and layout 'tiny' is for squares",
    }
    with pytest.raises(LayoutError, match=r"norm_pre is True, .*drop=\['norm_eps', 'norm_pre', 'pool', 'img_size'\]"):
        TINY.bind(wrong, writing=True)


def test_some_fields_imply_others() -> None:
    registers = SQUARE.replace(reg_tokens=2)
    assert replace(TINY, holds={**TINY.holds, "reg_tokens": ANY}).refusals(registers) == {
        "num_prefix_tokens": "num_prefix_tokens is 3, and layout 'tiny' has num_prefix_tokens 0 or 1 in such a model"
    }
    deep = SQUARE.replace(pool="avg", depth=3)
    assert TINY.refusals(deep) == {"depth": "depth is 3, and layout 'tiny' has depth 1 or 2 in such a model"}
    # Where two rules ask for one field, both have to be met.
    both = replace(TINY, implies=(*TINY.implies, ({}, {"depth": (2, 3)})))
    assert set(both.refusals(deep)) == {"depth"}
    assert both.refusals(deep.replace(depth=2)) == {}
    assert set(both.refusals(deep.replace(depth=1))) == {"depth"}


def test_fields_are_dropped_on_purpose_alone() -> None:
    wrong = SQUARE.replace(norm_pre=True, norm_eps=1e-4)
    assert TINY.without(wrong, ["norm_pre", "norm_eps"]) == SQUARE
    assert TINY.without(SQUARE, []) is SQUARE
    with pytest.raises(
        LayoutError, match="no need to drop 'pool' for layout 'tiny': what it cannot hold is norm_eps, norm_pre"
    ):
        TINY.without(wrong, ["pool"])
    with pytest.raises(LayoutError, match="no need to drop 'pool' for layout 'tiny': it can hold all of this model"):
        TINY.without(SQUARE, ["pool"])
    table = replace(TINY, holds={**TINY.holds, "reg_tokens": ANY})
    with pytest.raises(LayoutError, match="'num_prefix_tokens' cannot be dropped by itself; change the model's spec"):
        table.without(SQUARE.replace(reg_tokens=2), ["num_prefix_tokens"])
    # What is dropped has to leave a spec that there can be.
    no_token = replace(TINY, holds={"pool": ("cls",), "class_token": ANY}, implies=())
    with pytest.raises(SpecError, match="pool 'cls' needs class_token"):
        no_token.without(SQUARE.replace(class_token=False, pool="avg", pos_prefix="none"), ["pool"])


def test_an_unknown_layout_names_those_there_are() -> None:
    with pytest.raises(LayoutError, match="unknown layout 'keras'; give one by its name, such as timm, "):
        get_layout("keras")
    with pytest.raises(LayoutError, match="unknown layout 'keras'"):
        layout_for("keras", SQUARE)


def test_a_group_stands_for_the_first_of_its_layouts_that_can_hold_the_model() -> None:
    assert all(member in LAYOUTS for members in GROUPS.values() for member in members)
    plain = SQUARE.replace(num_heads=2)
    turned = plain.replace(rope={"kind": "axial", "theta": 100.0})
    assert layout_for("timm", plain).name == "timm"
    assert layout_for("timm", turned).name == "timm_eva"
    assert layout_for("timm", turned.replace(num_kv_heads=1)).name == "timm_eva_split"
    assert layout_for("timm", plain.replace(rel_pos="shared", pos_embed="none", qkv_bias="qv")).name == "timm_beit"
    assert layout_for("timm_beit", plain).name == "timm_beit"  # a layout by its own name is not replaced
    nowhere = plain.replace(pool="cls_avg", head="pre_logits")
    closest = layout_for("timm", nowhere)
    assert closest.name == "timm"
    with pytest.raises(LayoutError, match=r"pool is cls_avg, .*head is pre_logits, "):
        closest.bind(nowhere, writing=True)


@pytest.mark.proves(layout="vitzoo", against="the model itself: names and shapes", tolerance="equal")
def test_the_native_layout_is_the_model_itself() -> None:
    for spec in (SPEC, SQUARE.replace(mlp="gated", layer_scale=0.1, pool="map", num_classes=0)):
        assert get_layout("vitzoo").bind(spec, writing=True).stored == native_shapes(spec)
