"""A complete reading of a file: a layout with one spec. What does not matter is filled in; what does may stay open."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitzoo.layouts.candidate import SHOWN, WITH_TABLE, Candidate, Grid
from vitzoo.layouts.domains import PREFIX, SLOTS, Literal
from vitzoo.spec import Head, Pool, PosEmbed, PosPrefix, ViTSpec
from vitzoo.spec.tensors import SOME

Size = tuple[int, int]

ONE_LAYER = (Head.LINEAR, Head.PROJECTION)
"""Heads that are one linear layer; what its outputs are called is not to be seen in a file."""


@dataclass(frozen=True)
class Reading:
    """One layout and one spec; `entry` are the weights of the registry that open fields were taken from."""

    candidate: Candidate
    spec: ViTSpec
    entry: str | None = None
    assumed: tuple[str, ...] = ()

    @property
    def function(self) -> Mapping[str, Any]:
        return function(self.spec)


def function(spec: ViTSpec) -> dict[str, Any]:
    """What a spec computes: equal for two specs only if models of the same tensors give the same numbers."""
    pooled = spec.pool in (Pool.AVG, Pool.MAP)
    mapped = spec.pool is Pool.MAP
    return dict(spec) | {
        "img_size": spec.grid,
        "drop_remainder": None,
        "drop_path_rate": None,
        "layer_scale": spec.layer_scale is not None,
        "layer_scale_mlp": spec.layer_scale is not None and spec.layer_scale_mlp,
        "pos_embed": spec.pos_embed is not PosEmbed.NONE,
        "pos_prefix": spec.num_pos_prefix,
        "head_dim": spec.dim_per_head,
        "num_kv_heads": spec.kv_heads,
        "pool_prefix": pooled and spec.num_prefix_tokens > 0 and spec.pool_prefix,
        "pool_heads": (spec.pool_heads or spec.num_heads) if mapped else None,
        "pool_mlp_dim": (spec.pool_mlp_dim or spec.mlp_dim) if mapped else None,
        "num_classes": spec.num_classes or spec.out_dim,
        "out_dim": None,
        "head": Head.LINEAR if spec.head in ONE_LAYER else spec.head,
        "head_bias": spec.head_bias if spec.num_classes or spec.out_dim else None,
    }


# Where the first holds, a field computes nothing and has the second's value.
IDLE: tuple[tuple[str, tuple[Literal, ...], Any], ...] = (
    ("pool_prefix", (Literal("pool", (Pool.AVG, Pool.MAP), False),), False),
    ("pool_prefix", (Literal(PREFIX, (0,)),), False),
    ("pool_heads", (Literal("pool", (Pool.MAP,), False),), None),
    ("pool_mlp_dim", (Literal("pool", (Pool.MAP,), False),), None),
    ("head_bias", (Literal("num_classes", (0,)), Literal("head", (Head.LINEAR,))), True),
    ("pos_prefix", (Literal("pos_embed", (PosEmbed.NONE,)),), PosPrefix.CLS),
    ("pos_prefix", (Literal(SLOTS, (0,)),), PosPrefix.NONE),
    ("pos_prefix", (Literal(SLOTS, (1,)), Literal(PREFIX, (1,))), PosPrefix.CLS),
    ("layer_scale_mlp", (Literal("layer_scale", (None,)),), True),
    ("layer_scale", (Literal("layer_scale", (SOME,)),), 1e-5),
    ("drop_path_rate", (), 0.0),
    ("pos_embed", (Literal("pos_embed", WITH_TABLE),), PosEmbed.LEARNED),
)


@dataclass(frozen=True)
class Sizes:
    """What is said of the size of pictures, in pixels, (height, width)."""

    of_file: Size | None = None
    """Of the pictures that the file's own table of positions is for."""
    wanted: Size | None = None
    """Of the pictures that the model is wanted for, which may be the same."""


def completed(candidate: Candidate, sizes: Sizes) -> Reading | list[str]:
    """The reading of a candidate whose every field is known, or the fields that are not."""
    candidate = _called(candidate)
    grid, assumed = _grid(candidate, sizes)
    if grid is not None:
        candidate = candidate.copy()
        candidate.take_grid(grid)
    fields: dict[str, Any] = {"depth": candidate.depth}
    for name in ViTSpec.model_fields:
        if name not in fields and name not in SHOWN and (value := _value(candidate, name)) is not _OPEN:
            fields[name] = value
    missing = [name for name in ViTSpec.model_fields if name not in SHOWN and name not in fields]
    pixels = None if "patch_size" in missing else _pixels(candidate, sizes, grid, fields["patch_size"])
    if pixels is None:  # the size tells the slots of a table, too
        return [name for name in missing if name != "pos_prefix" or not candidate.has_table] + ["img_size"]
    if missing:
        return missing
    width = candidate.sizes.get("pool_mlp")
    fields |= {"pool_mlp_dim": None if width == fields["mlp_dim"] else width, **candidate.heads(), **pixels}
    return Reading(candidate, ViTSpec.parse(fields, f"layout '{candidate.layout.name}'"), assumed=assumed)


class _Open:
    """Stands for a value that is not known."""


_OPEN = _Open()


def _value(candidate: Candidate, name: str) -> Any:
    domains = candidate.domains
    if domains.sure(name):
        return domains.only(name)
    for field, condition, value in IDLE:
        if field == name and all(map(domains.certain, condition)):
            left = domains.options(name)
            return value if value in left or SOME in left else min(left, key=str)
    return _OPEN


def _called(candidate: Candidate) -> Candidate:
    """A linear layer is called a classifier or a projection: by its bias, which published classifiers have."""
    if candidate.domains.options("head") != frozenset(ONE_LAYER):
        return candidate
    other = candidate.copy()
    other.take("head", ONE_LAYER[not other.domains.possible(Literal("head_bias", (True,)))])
    return other


def _grid(candidate: Candidate, sizes: Sizes) -> tuple[Grid | None, tuple[str, ...]]:
    """The grid of a table, with what was assumed of it; none if there is no table, or it is not known.

    A table that can be square is taken for a square, unless it may as well be for the pictures that are wanted.
    """
    grids, patch = {grid for _, grid in candidate.grids()}, candidate.domains.only("patch_size")
    if len(grids) == 1:
        return grids.pop(), ()
    square = candidate.square()
    may_be = {patches(sizes.wanted, patch)} & grids if sizes.wanted and isinstance(patch, tuple) else set()
    if square is None or may_be - {square}:
        return None, ()
    rows, cols = square
    return square, (f"a table of {rows * cols} positions is taken for a square of {rows}x{cols} patches",)


def patches(size: Size, patch: Size) -> Grid:
    """(rows, columns) of whole patches in pictures of a size."""
    return size[0] // patch[0], size[1] // patch[1]


def _pixels(candidate: Candidate, sizes: Sizes, grid: Grid | None, patch: Size) -> dict[str, Any] | None:
    """img_size, and whether its last pixels make no patch; None if the grid of a table is not known."""
    if candidate.has_table and grid is None:
        return None
    known = (one for one in (sizes.of_file, sizes.wanted, candidate.usual_size) if one is not None)
    fitting = next((one for one in known if grid in (None, patches(one, patch))), None)
    size = fitting or (grid and (grid[0] * patch[0], grid[1] * patch[1]))
    if size is None:
        return None
    remainder = any(length % width for length, width in zip(size, patch, strict=True))
    return {"img_size": size, "drop_remainder": remainder}
