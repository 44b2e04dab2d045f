"""What a file holds, from its names and shapes alone: the layouts that read it, and the spec's fields they show."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any

from vitzoo.errors import LayoutError
from vitzoo.layouts.axes import axis_lengths, moved_shape
from vitzoo.layouts.layout import ANY, SIZES, Layout
from vitzoo.layouts.placement import stray
from vitzoo.layouts.rules import Drop, Fixed, Join, Piece
from vitzoo.layouts.strangers import stranger, turned_kernel
from vitzoo.layouts.tables import LAYOUTS
from vitzoo.spec import (
    MLP,
    AttentionKind,
    BlockKind,
    FinalNorm,
    Head,
    Norm,
    Pool,
    PosEmbed,
    PosPrefix,
    QKVBias,
    RelPos,
    Rope,
    RopeKind,
    RopePairs,
    Shape,
    ViTSpec,
)

BLOCK = "blocks.{i}."

# What no tensor shows, or not always.
HIDDEN = (
    "num_heads",
    "norm_eps",
    "act",
    "pool",
    "pool_prefix",
    "pool_heads",
    "final_norm",
    "block",
    "rope",
    "img_size",
    "patch_size",
    "pos_prefix",
)


@dataclass
class Shown:
    """What one layout makes of a file."""

    layout: Layout
    depth: int
    shapes: dict[str, Shape]
    """Native tensors, named with {i}, whose shape is certain; of block 0."""
    joined: dict[str, Shape]
    """The same before it is split, for tensors that stand together: a table of positions, packed layers."""
    lengths: dict[str, int]
    """Axes that the layout keeps apart, such as num_heads."""
    implied: dict[str, Any]
    """Fields that the choice between two names of a tensor tells."""
    unread: list[str]
    view: dict[str, str] = field(default_factory=dict)
    """From the rules' names to the keys of the file."""
    refused: str = ""
    """Why the layout cannot say where in the file its model stands."""
    present: set[str] = field(default_factory=set)
    """Native tensors that the file has, also those whose shape needs a hint to be read."""
    fields: dict[str, Any] = field(default_factory=dict)
    attn_dim: int = 0
    rows_of_kv: tuple[int, ...] = ()

    def __contains__(self, native: str) -> bool:
        return native in self.present

    @property
    def open(self) -> list[str]:
        """Fields that the file does not show and for which the layout allows more than one value."""
        return [name for name in HIDDEN if name not in self.fields]

    def widths(self, num_heads: int) -> dict[str, Any]:
        """head_dim and num_kv_heads, which the rows of the projections show once the number of heads is known."""
        head_dim = self.attn_dim // num_heads
        heads = tuple(rows // head_dim for rows in self.rows_of_kv)
        return {
            "head_dim": None if num_heads * head_dim == self.fields["hidden_dim"] else head_dim,
            "num_kv_heads": None if all(rows == self.attn_dim for rows in self.rows_of_kv) else heads,
        }


def detect(
    shapes: Mapping[str, Shape],
    where: str,
    layouts: Iterable[Layout] = LAYOUTS.values(),
    fallback_size: Any = None,
    prefix: str | None = None,
    **hints: Any,
) -> list[Shown]:
    """Those of `layouts` whose table covers every tensor of a file, each with what it shows of the spec.

    `hints` are fields that are known from elsewhere; they help where a shape has several readings. `fallback_size` is
    an img_size that may describe the file or be wished for. `prefix` is the caller's choice of a model in the file.

    Raises:
        LayoutError: no layout covers the file; it names the nearest one and what it does not know.
    """
    shown = [_read(layout, shapes, hints, prefix) for layout in layouts]
    kernel = "patch_embed.proj.weight"
    # A kernel that only a hint can split has no shape yet; one that has a shape has four axes.
    fits = [one for one in shown if not one.unread and one.depth and kernel in one]
    fits = [one for one in fits if len(one.shapes.get(kernel, (0,) * 4)) == 4]
    for one in fits:
        if kernel in one.shapes and (wrong := _turned(one, hints)):
            raise LayoutError(f"{where}: {wrong}")
    if not fits:
        if named := stranger(shapes):
            raise LayoutError(f"{where} is in no known layout: {named}")
        if refused := [one.refused for one in shown if one.refused]:
            raise LayoutError(f"{where}: {refused[0]}")
        near = min(shown, key=lambda one: (len(one.unread) - len(one.shapes) - len(one.joined), len(one.unread)))
        if beside := stray(near.layout, shapes, prefix):
            raise LayoutError(f"{where} {beside}")
        strange = ", ".join(near.unread[:5]) + (f" and {len(near.unread) - 5} more" if len(near.unread) > 5 else "")
        reason = f"it does not know {strange}" if near.unread else "no patch projection or no blocks were found"
        raise LayoutError(
            f"{where} holds {len(shapes)} tensors in none of the layouts "
            f"{', '.join(one.layout.name for one in shown)}; the nearest is '{near.layout.name}', but {reason}"
        )
    for one in fits:
        one.fields = _fields(one, hints, fallback_size)
    return fits


def _turned(shown: Shown, hints: Mapping[str, Any]) -> str | None:
    key = next(shown.view[name] for name in shown.layout.anchors if name in shown.view)
    return turned_kernel(key, shown.shapes["patch_embed.proj.weight"], hints)


def _read(layout: Layout, shapes: Mapping[str, Shape], hints: Mapping[str, Any], prefix: str | None) -> Shown:
    """Match the rules against the file's names and read the shapes of block 0."""
    keys = [rule.key for rule in layout.rules if isinstance(rule, Fixed)]
    keys += [
        part.key for rule in layout.rules if isinstance(rule, Join) for part in rule.stored if isinstance(part, Piece)
    ]
    try:
        view = layout.view(shapes, prefix=prefix)
    except LayoutError as error:
        return Shown(layout, 0, {}, {}, {}, {}, sorted(shapes), refused=str(error))
    found = {name: tuple(shapes[key]) for name, key in view.items()}
    repeated = [key for key in keys if "{i}" in key]
    depth = 0
    while any(key.format(i=depth) in found for key in repeated):
        depth += 1
    known = {key.format(i=i) for key in keys for i in range(depth if "{i}" in key else 1)}
    drops = [rule for rule in layout.rules if isinstance(rule, Drop)]
    unread = [
        view[name] for name in found if name not in known and not any(drop.covers(name, found[name]) for drop in drops)
    ]
    stacked = {
        found[key.key][0] for rule in _joins(layout) if rule.stacked for key in _pieces(rule) if key.key in found
    }
    shown = Shown(layout, max([depth, *stacked]), {}, {}, {}, {}, unread, view)
    sizes = _hinted_sizes(hints)
    for group in _alternatives(layout, found).values():
        _take(shown, group, found, sizes)
    joined = {piece.key for rule in _joins(layout) for piece in _pieces(rule)}
    for rule in layout.rules:  # a tensor that stands in no join tells of the architecture by being there
        if isinstance(rule, Fixed) and rule.key not in joined and rule.key.format(i=0) in found:
            shown.implied.update({name: value for name, value in rule.given.items() if not isinstance(value, tuple)})
    if shown.joined.get("blocks.{i}.attn.qkv.weight"):
        shown.rows_of_kv = _rows_of_kv(layout, found, shown.depth)
    return shown


def _joins(layout: Layout) -> Iterable[Join]:
    return (rule for rule in layout.rules if isinstance(rule, Join))


def _pieces(rule: Join) -> list[Piece]:
    return [part for part in rule.stored if isinstance(part, Piece)]


def _alternatives(layout: Layout, found: Mapping[str, Shape]) -> dict[tuple[str, ...], list[Join]]:
    """The rules that the file's names satisfy, by what they give; of several, those that read most."""
    groups: dict[tuple[str, ...], list[Join]] = {}
    for rule in _joins(layout):
        pieces = _pieces(rule)
        if pieces and all(piece.key.format(i=0) in found for piece in pieces):
            groups.setdefault(tuple(piece.key for piece in rule.native), []).append(rule)
    return {
        native: [rule for rule in rules if len(_pieces(rule)) == max(len(_pieces(other)) for other in rules)]
        for native, rules in groups.items()
    }


def _take(shown: Shown, rules: list[Join], found: Mapping[str, Shape], sizes: Mapping[str, int]) -> None:
    rule = rules[0]
    shown.present.update(piece.key for piece in rule.native)
    parts: list[Shape] = []
    for piece in _pieces(rule):
        shape = found[piece.key.format(i=0)][1 if rule.stacked else 0 :]
        try:
            if piece.pattern:
                shown.lengths.update(axis_lengths(piece.pattern, shape, sizes))
            parts.append(moved_shape(piece.pattern, shape, sizes))
        except LayoutError:
            return  # an axis that only a hint could split: the field stays open
    axis = rule.axis
    whole = list(parts[0])
    if whole:
        share = sum(shape[axis] for shape in parts)
        whole[axis] = share * len(rule.stored) // len(parts)  # Zeros are as long as their neighbours
    names = [piece.key for piece in rule.native]
    if len(names) == 1 and rule.native[0].pattern is None:
        shown.shapes[names[0]] = tuple(whole)
    shown.joined.update(dict.fromkeys(names, tuple(whole)))
    for name, value in rule.given.items():
        if not isinstance(value, tuple) and all(other.given.get(name) == value for other in rules):
            shown.implied[name] = value


def _rows_of_kv(layout: Layout, found: Mapping[str, Shape], depth: int) -> tuple[int, ...]:
    """Rows of the key's weight in each block, where a layout keeps it apart from the query's."""
    for rule in _joins(layout):
        pieces = _pieces(rule)
        apart = [piece for piece in pieces if piece.size == "kv_dim"]
        if apart and rule.native[0].key == "blocks.{i}.attn.qkv.weight" and pieces[0].key.format(i=0) in found:
            return tuple(found[apart[0].key.format(i=i)][0] for i in range(depth))
    return ()


def _hinted_sizes(hints: Mapping[str, Any]) -> dict[str, int]:
    sizes = {name: hints[name] for name in ("num_heads", "in_chans") if hints.get(name)}
    if hints.get("patch_size"):
        rows, cols = (
            hints["patch_size"] if isinstance(hints["patch_size"], tuple | list) else (hints["patch_size"],) * 2
        )
        sizes |= {"patch_rows": rows, "patch_cols": cols}
    return sizes


def _fields(shown: Shown, hints: Mapping[str, Any], fallback: Any) -> dict[str, Any]:
    """Every field of the spec that the file shows or the layout fixes."""
    dim = shown.joined["norm1" if "norm1" in shown.joined else f"{BLOCK}norm1.weight"][0]
    kernel = shown.shapes.get("patch_embed.proj.weight")
    fields: dict[str, Any] = {"hidden_dim": dim, "depth": shown.depth}
    if kernel is not None:
        fields |= {"in_chans": kernel[1], "patch_size": kernel[2:]}
    fields |= _mlp(shown, dim)
    fields |= _present(shown)
    fields |= _head(shown, dim, hints)
    if "pool.fc1.weight" in shown:
        width = shown.joined["pool.fc1.weight"][0]
        fields["pool_mlp_dim"] = None if width == fields["mlp_dim"] else width
    fields |= {name: value for name, value in shown.implied.items() if "." not in name}
    attn_rows = shown.joined[f"{BLOCK}attn.qkv.weight"][0]
    if f"{BLOCK}mlp.fc1.weight" not in shown.shapes and fields["mlp"] is MLP.PLAIN:
        attn_rows -= fields["mlp_dim"]  # a parallel block's first layers are one
    shown.attn_dim = attn_rows - 2 * shown.rows_of_kv[0] if shown.rows_of_kv else attn_rows // 3
    fields |= _heads(shown, fields["attention"])
    fields |= _positions(shown, fields, hints, fallback)
    if "pool" not in fields and not fields["num_classes"] and hints.get("pool") in (Pool.NONE, Pool.CLS_AVG):
        fields["pool"] = Pool(hints["pool"])  # without a classifier shapes show neither, and contradict neither
    return fields | _held(shown, fields)


def _mlp(shown: Shown, dim: int) -> dict[str, Any]:
    """The MLP's kind and width. Packed gates bear the name of a plain layer in some layouts; then widths tell."""
    shapes, joined = shown.shapes, shown.joined
    gate, first, last = (f"{BLOCK}mlp.{name}.weight" for name in ("gate", "fc1", "fc2"))
    gated = gate in joined
    if gated and gate not in shapes and first in shapes:
        gated = shapes[first][0] != shapes[last][1]
    mlp_dim = shapes[last][1] if last in shapes else joined[last][1] - dim  # the two output layers may be one
    bias = (gate if gated else first).replace("weight", "bias")
    return {"mlp_dim": mlp_dim, "mlp": MLP.GATED if gated else MLP.PLAIN, "mlp_bias": bias in shown}


def _present(shown: Shown) -> dict[str, Any]:
    """Fields that the presence of a tensor shows."""
    attention = AttentionKind.DIFF if f"{BLOCK}attn.lambda_q1" in shown else AttentionKind.SOFTMAX
    rel_pos = RelPos.BLOCK if f"{BLOCK}attn.rel_pos.grid" in shown else RelPos.NONE
    found: dict[str, Any] = {
        "attention": AttentionKind.DIFF_DUAL if f"{BLOCK}attn.lambda_a" in shown else attention,
        "class_token": "cls_token" in shown,
        "dist_token": "dist_token" in shown,
        "reg_tokens": shown.joined["reg_tokens"][0] if "reg_tokens" in shown.joined else 0,
        "patch_bias": "patch_embed.proj.bias" in shown,
        "patch_norm": "patch_embed.norm.weight" in shown,
        "norm": Norm.LAYER if f"{BLOCK}norm1.bias" in shown else Norm.RMS,
        "norm_pre": "norm_pre.weight" in shown,
        "layer_scale": 1e-5 if f"{BLOCK}ls1.gamma" in shown else None,
        "qk_norm": f"{BLOCK}attn.q_norm.weight" in shown,
        "attn_norm": f"{BLOCK}attn.norm.weight" in shown,
        "proj_bias": f"{BLOCK}attn.proj.bias" in shown,
        "mlp_out_bias": f"{BLOCK}mlp.fc2.bias" in shown,
        "mlp_norm": f"{BLOCK}mlp.norm.weight" in shown,
        "qkv_bias": QKVBias.ALL if f"{BLOCK}attn.qkv.bias" in shown else QKVBias.NONE,
        "rel_pos": RelPos.SHARED if "rel_pos.grid" in shown else rel_pos,
    }
    if found["layer_scale"] is not None:
        found["layer_scale_mlp"] = f"{BLOCK}ls2.gamma" in shown or shown.implied.get("block") is BlockKind.PARALLEL
    return found if "norm.weight" in shown else found | {"final_norm": FinalNorm.NONE}


def _held(shown: Shown, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of which the layout leaves one value."""
    found = dict(fields)
    for name in HIDDEN:
        allowed = shown.layout.holds.get(name, (ViTSpec.model_fields[name].default,))
        if name not in found and (name not in SIZES or name in shown.layout.holds) and allowed is not ANY:
            possible = [value for value in allowed if not _impossible(name, value, found)]
            if len(possible) == 1:
                found[name] = possible[0]
    if found.get("pool") is not Pool.MAP and "pool" in found:
        found |= {"pool_heads": None} | ({} if found["pool"] is Pool.AVG else {"pool_prefix": False})
    return found


def _impossible(name: str, value: Any, fields: Mapping[str, Any]) -> bool:
    if name == "pool":
        no_class = value in (Pool.CLS, Pool.CLS_AVG) and not fields["class_token"]
        # Shapes show every pool but these two; to keep all tokens is nobody's published default.
        return no_class or value not in (Pool.CLS, Pool.AVG)
    if name == "block":
        return (value is BlockKind.PARALLEL) != (fields.get("block") is BlockKind.PARALLEL)
    if name == "final_norm":
        return value is FinalNorm.NONE
    return False


def _head(shown: Shown, dim: int, hints: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"head": Head.LINEAR, "num_classes": 0}
    if "head.fc.weight" in shown:
        classes, width = shown.joined["head.fc.weight"]
        fields |= {"num_classes": classes, "head_bias": "head.fc.bias" in shown}
        if width == 2 * dim:
            fields["pool"] = Pool.CLS_AVG
    if "head.proj.weight" in shown:
        out_dim, _ = shown.joined["head.proj.weight"]
        # Some layouts have one name for both: a classifier has a bias, in all that was published.
        told = hints.get("head") == Head.PROJECTION and hints.get("out_dim") == out_dim
        if told or not ("head.fc.weight" in shown and "head.fc.bias" in shown):
            fields |= {"head": Head.PROJECTION, "out_dim": out_dim, "num_classes": 0}
            fields["head_bias"] = "head.proj.bias" in shown
    if "head.pre_logits.weight" in shown:
        fields["head"] = Head.PRE_LOGITS
    if "head.fc_dist.weight" in shown:
        fields |= {"head": Head.DISTILLED, "pool": Pool.CLS_DIST}
    if "pool.probe" in shown:
        fields["pool"] = Pool.MAP
    return fields


def _heads(shown: Shown, attention: AttentionKind) -> dict[str, Any]:
    """num_heads, where an axis, a table with one column a head or a vector of one head's width tells it."""
    joined = shown.joined
    if "num_heads" in shown.lengths:
        return {"num_heads": shown.lengths["num_heads"]}
    for table, axis in (("rel_pos.grid", -1), ("blocks.{i}.attn.rel_pos.grid", -1), ("rope.freqs", 2)):
        if table in joined:
            return {"num_heads": joined[table][axis]}
    plain = attention is AttentionKind.SOFTMAX
    for vector, factor in (("attn.q_norm" if plain else "attn.sub_norm", 1), ("rope.periods", 4)):
        name = vector if vector == "rope.periods" else f"blocks.{{i}}.{vector}.weight"
        if name in joined:
            return {"num_heads": shown.attn_dim // (joined[name][0] * factor)}
    return {}


def _sized(size: Any, total: int, kinds: Mapping[int, PosPrefix], patch: tuple[int, int]) -> dict[str, Any]:
    """img_size and pos_prefix if pictures of `size` give as many patches as a table of `total` positions can hold."""
    if size is None:
        return {}
    rows, cols = (size, size) if isinstance(size, int) else size
    exact = [slots for slots in kinds if total - slots == (rows // patch[0]) * (cols // patch[1])]
    if len(exact) != 1:
        return {}
    remainder = bool(rows % patch[0] or cols % patch[1])
    return {"pos_prefix": kinds[exact[0]], "img_size": (rows, cols), "drop_remainder": remainder}


def _positions(shown: Shown, fields: Mapping[str, Any], hints: Mapping[str, Any], fallback: Any) -> dict[str, Any]:
    """img_size and pos_prefix of the table of positions.

    A size that is documented counts first. Without one a table that can be square is, since a caller's size may be what
    is wanted and not what is there: 14x14 patches are not read as 7x28. `fallback` is for tables that cannot be square.
    """
    found: dict[str, Any] = {}
    if "rope.periods" in shown:
        # Stored periods leave nothing of theta; DINOv3 is the one code that stores them.
        found["rope"] = Rope.parse(
            {"kind": RopeKind.DINOV3, "theta": 100.0, "pairs": RopePairs.HALVES, "stored": True}, "rope"
        )
    patch = fields.get("patch_size") or hints.get("patch_size")
    patch = (patch, patch) if isinstance(patch, int) else patch
    for table in ("rel_pos.grid", "blocks.{i}.attn.rel_pos.grid"):
        if table in shown and patch:
            shape = shown.shapes.get(table)
            side = isqrt(shown.joined[table][0] - 3)
            rows, cols = ((shape[0] + 1) // 2, (shape[1] + 1) // 2) if shape else ((side + 1) // 2,) * 2
            if shape or side * side == shown.joined[table][0] - 3:
                found["img_size"] = (rows * patch[0], cols * patch[1])
    if "pos_embed.grid" not in shown:
        return {**found, "pos_embed": PosEmbed.NONE, "pos_prefix": ViTSpec.model_fields["pos_prefix"].default}
    found["pos_embed"] = (
        shown.implied.get("pos_embed") or (shown.layout.holds.get("pos_embed") or (PosEmbed.LEARNED,))[0]
    )
    prefix = fields["class_token"] + fields["dist_token"] + fields["reg_tokens"]
    kinds = {0: PosPrefix.NONE, prefix: PosPrefix.ALL} | ({1: PosPrefix.CLS} if fields["class_token"] else {})
    kinds[0] = PosPrefix.NONE
    grid = shown.shapes.get("pos_embed.grid")
    if grid is not None:  # the native layout keeps the grid
        slots = shown.joined["pos_embed.prefix"][0] if "pos_embed.prefix" in shown else 0
        found["pos_prefix"] = kinds.get(slots, PosPrefix.ALL)
        return {**found, **({"img_size": (grid[0] * patch[0], grid[1] * patch[1])} if patch else {})}
    if patch and "pos_embed.grid" in shown.joined:
        total = shown.joined["pos_embed.grid"][0]
        documented = _sized(hints.get("img_size"), total, kinds, patch)
        square = [slots for slots in kinds if total > slots and isqrt(total - slots) ** 2 == total - slots]
        if not documented and len(square) == 1:
            side = isqrt(total - square[0])
            return {**found, "pos_prefix": kinds[square[0]], "img_size": (side * patch[0], side * patch[1])}
        found |= documented or _sized(fallback, total, kinds, patch)
    return found
