"""A layout is a table read in two directions: forwards it imports a checkpoint, backwards it exports a model.

A table is a tuple of rules, written once for every architecture that the layout can hold. There are three kinds:

- `Join`: some tensors of the layout, laid end to end along one axis, are some native tensors laid end to end. Each may
  be seen through an axis pattern, which is its own inverse. `Zeros` stands for a part that the layout does not store;
  export checks that it is zero. `Implied` stands for one that the spec gives, and is checked likewise. With `stacked`,
  the layout's tensors hold all blocks along a leading axis.
- `Fixed`: the layout stores what follows from the spec. Import checks it, export writes it.
- `Drop`: the layout may hold it and the model has no use for it; the reason goes into the report.

`{i}` in a name runs over the blocks. A rule whose native tensors the architecture lacks does not apply, nor does one
whose `given` fields (a value, or a tuple of those that will do) differ from the spec's. `Binding` expands the rules
over the native tensors of a spec into a closed list of keys: missing, surplus, doubly claimed and wrongly shaped
tensors are set differences. No rule looks at a module.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vitzoo.errors import LayoutError
from vitzoo.layouts.axes import Sizes, move, moved_shape
from vitzoo.spec import Shape, ViTSpec
from vitzoo.spec.tensors import spec_field

Read = Callable[[str], Tensor]

OUTSIDE = "../"
"""Before the name of a tensor that stands outside of the model's scope in the file."""


@dataclass(frozen=True)
class Piece:
    """One tensor of a join. `pattern` leads from its own axes to the joined ones: "1 n d -> n d".

    `size` names its length along the joined axis (see `axis_sizes`); pieces without one share what is left equally.
    The middle third of a `masked` piece counts as zeros, whatever the file holds there.
    """

    key: str
    pattern: str | None = None
    size: str | None = None
    masked: bool = False


@dataclass(frozen=True)
class Zeros:
    """A part of a join that the layout does not store because it is all zeros."""

    size: str | None = None


@dataclass(frozen=True)
class Implied:
    """A part of a join that the layout does not store because it follows from the spec; `value` gives it as joined."""

    value: Callable[[ViTSpec], Tensor]
    size: str | None = None


@dataclass(frozen=True)
class Join:
    """`stored` laid end to end along `axis` equals `native` laid end to end along it."""

    stored: tuple[Piece | Zeros | Implied, ...]
    native: tuple[Piece, ...]
    axis: int = 0
    stacked: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fixed:
    """A stored tensor that follows from the spec; `value` gives it for a block (0 for a rule without `{i}`).

    One that is not `checked` may hold anything: import drops it for the reason, and export writes `value`, because
    whoever reads the layout asks for the tensor.
    """

    key: str
    value: Callable[[ViTSpec, int], Tensor]
    reason: str
    given: Mapping[str, Any] = field(default_factory=dict)
    checked: bool = True


@dataclass(frozen=True)
class Drop:
    """Tensors of the layout that are left unread on purpose; a key that ends in `*` stands for all that start so.

    `{i}` stands for any block. With `empty`, only those that hold no values.
    """

    key: str
    reason: str
    empty: bool = False

    def covers(self, key: str, shape: Shape = ()) -> bool:
        if self.empty and 0 not in shape:
            return False
        before, block, name = self.key.rpartition("{i}")
        if block:
            if not key.startswith(before):
                return False
            key = key.removeprefix(before).lstrip("0123456789")
        return key.startswith(name[:-1]) if name.endswith("*") else key == name


Rule = Join | Fixed | Drop
Table = tuple[Rule, ...]

TORCH_LEAVES: dict[str, tuple[str, str | None]] = {"weight": ("weight", None), "bias": ("bias", None)}


def same(stored: str, native: str, pattern: str | None = None, **given: Any) -> Join:
    """One tensor is one tensor, perhaps with its axes in another order."""
    return Join((Piece(stored, pattern),), (Piece(native),), given=given)


def module(
    stored: str | Sequence[str],
    native: str | Sequence[str],
    leaves: Mapping[str, tuple[str, str | None]] = TORCH_LEAVES,
    separator: str = ".",
    **given: Any,
) -> tuple[Join, ...]:
    """A rule for each leaf of a module, or of several modules whose leaves are laid end to end.

    `leaves` maps weight and bias to the layout's name of them, with an axis pattern.
    """
    stored, native = ((names,) if isinstance(names, str) else tuple(names) for names in (stored, native))
    return tuple(
        Join(
            tuple(Piece(f"{name}{separator}{leaf}", pattern) for name in stored),
            tuple(Piece(f"{name}.{own}") for name in native),
            given=given,
        )
        for own, (leaf, pattern) in leaves.items()
    )


def positions(stored: str, pattern: str = "1 n d -> n d", **given: Any) -> Join:
    """One table of positions, the slots of the prefix before the grid row by row."""
    native = (Piece("pos_embed.prefix"), Piece("pos_embed.grid", "rows cols d -> (rows cols) d"))
    return Join((Piece(stored, pattern),), native, given=given)


def inside(prefix: str, rules: Iterable[Rule]) -> Table:
    """A table for the same tensors under a prefix."""
    moved: list[Rule] = []
    for rule in rules:
        if isinstance(rule, Join):
            stored = (replace(p, key=f"{prefix}{p.key}") if isinstance(p, Piece) else p for p in rule.stored)
            moved.append(replace(rule, stored=tuple(stored)))
        else:
            moved.append(replace(rule, key=f"{prefix}{rule.key}"))
    return tuple(moved)


def axis_sizes(spec: ViTSpec, block: int) -> dict[str, int]:
    """What axis names and `size` may stand for; an axis with another name takes its length from the tensor."""
    return {
        "rows": spec.grid[0],
        "cols": spec.grid[1],
        "rel_rows": 2 * spec.grid[0] - 1,
        "rel_cols": 2 * spec.grid[1] - 1,
        "patch_rows": spec.patch_size[0],
        "patch_cols": spec.patch_size[1],
        "in_chans": spec.in_chans,
        "num_heads": spec.num_heads,
        "kv_heads": spec.kv_heads[block],
        "kv_dim": spec.kv_heads[block] * spec.dim_per_head,
        "pool_heads": spec.pool_heads or spec.num_heads,
        "depth": spec.depth,
    }


@dataclass(frozen=True)
class Part:
    """A join for one block: all keys are final and all shapes are known."""

    rule: Join
    sizes: Sizes
    joined: tuple[Shape, ...]  # of the native tensors, all but the joined axis alike
    stored: tuple[Shape, ...]  # of the stored parts, in the joined axes
    spec: ViTSpec

    @classmethod
    def bound(cls, rule: Join, spec: ViTSpec, block: int, native: Mapping[str, Shape]) -> "Part":
        sizes = axis_sizes(spec, block)
        joined = tuple(moved_shape(piece.pattern, native[piece.key], sizes) for piece in rule.native)
        total = sum(shape[rule.axis] for shape in joined) if joined[0] else 0
        known = [None if part.size is None else sizes[part.size] for part in rule.stored]
        shares = known.count(None) or 1
        share = (total - sum(filter(None, known))) // shares
        lengths = [share if length is None else length for length in known]
        stored = tuple(_with_axis(joined[0], rule.axis, length) for length in lengths)
        return cls(rule, sizes, joined, stored, spec)

    def stored_shapes(self) -> Iterator[tuple[str, Shape]]:
        for part, shape in zip(self.rule.stored, self.stored, strict=True):
            if isinstance(part, Piece):
                yield part.key, moved_shape(part.pattern, shape, self.sizes, back=True)

    def load(self, read: Read, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        axis = self.rule.axis
        found = [
            _unmasked(part, move(part.pattern, read(part.key), self.sizes)) if isinstance(part, Piece) else None
            for part in self.rule.stored
        ]
        like = next((t for t in found if t is not None), torch.empty(0, dtype=dtype))
        parts = zip(self.rule.stored, found, self.stored, strict=True)
        whole = _cat([self._unstored(part, shape, like) if t is None else t for part, t, shape in parts], axis)
        for piece, tensor in zip(self.rule.native, _split(whole, self.joined, axis), strict=True):
            yield piece.key, move(piece.pattern, tensor, self.sizes, back=True)

    def store(self, read: Read, layout: str) -> Iterator[tuple[str, Tensor]]:
        axis = self.rule.axis
        whole = _cat([move(piece.pattern, read(piece.key), self.sizes) for piece in self.rule.native], axis)
        for part, tensor in zip(self.rule.stored, _split(whole, self.stored, axis), strict=True):
            expected = (
                _unmasked(part, tensor)
                if isinstance(part, Piece)
                else self._unstored(part, tuple(tensor.shape), tensor)
            )
            if expected is not tensor and not torch.equal(tensor, expected):
                names = ", ".join(piece.key for piece in self.rule.native)
                has_to_be = "what the architecture implies" if isinstance(part, Implied) else "zero"
                raise LayoutError(
                    f"layout '{layout}' has no place for a part of {names} that has to be {has_to_be} there, "
                    f"and the model is off by up to {(tensor - expected).abs().max().item():.3g}; choose another layout"
                )
            if isinstance(part, Piece):
                yield part.key, move(part.pattern, tensor, self.sizes, back=True)

    def _unstored(self, part: Piece | Zeros | Implied, shape: Shape, like: Tensor) -> Tensor:
        return part.value(self.spec).to(like) if isinstance(part, Implied) else like.new_zeros(shape)


@dataclass(frozen=True)
class Step:
    """What is read and written together: one part, or the parts of all blocks where the layout stacks them."""

    parts: tuple[Part, ...]

    @property
    def rule(self) -> Join:
        return self.parts[0].rule

    @property
    def stored(self) -> dict[str, Shape]:
        lead = (len(self.parts),) if self.rule.stacked else ()
        return {key: (*lead, *shape) for key, shape in self.parts[0].stored_shapes()}

    @property
    def native(self) -> list[str]:
        return [piece.key for part in self.parts for piece in part.rule.native]

    @property
    def transform(self) -> str:
        """In words, for a report."""
        rule = self.rule
        words = ["stacked over the blocks"] if rule.stacked else []
        if len(rule.stored) + len(rule.native) > 2:
            words.append(f"{len(rule.stored)} to {len(rule.native)} along axis {rule.axis}")
        pieces = [part for part in (*rule.stored, *rule.native) if isinstance(part, Piece)]
        words += dict.fromkeys(piece.pattern for piece in pieces if piece.pattern)
        words += ["zeros where nothing is stored"] if any(isinstance(part, Zeros) for part in rule.stored) else []
        words += ["follows from the architecture"] if any(isinstance(part, Implied) for part in rule.stored) else []
        words += ["masked key bias taken as zeros"] if any(piece.masked for piece in pieces) else []
        return "; ".join(words) or "same"

    def load(self, read: Read, dtype: torch.dtype = torch.float32) -> Iterator[tuple[str, Tensor]]:
        """Read the stored tensors and give the native ones; `dtype` is for tensors of which nothing is stored."""
        if not self.rule.stacked:
            return self.parts[0].load(read, dtype)
        whole = {key: read(key) for key in self.stored}
        return (
            pair
            for i, part in enumerate(self.parts)
            for pair in part.load(lambda key, i=i: whole[key][i], dtype)  # type: ignore[misc]
        )

    def store(self, read: Read, layout: str) -> Iterator[tuple[str, Tensor]]:
        """Read the native tensors and give the stored ones; a LayoutError if a part that is not stored is not zero."""
        if not self.rule.stacked:
            return self.parts[0].store(read, layout)
        blocks = [dict(part.store(read, layout)) for part in self.parts]
        return ((key, torch.stack([block[key] for block in blocks])) for key in self.stored)


class Binding:
    """A layout's table bound to one spec, whose native tensors are `native`."""

    def __init__(self, layout: str, table: Iterable[Rule], spec: ViTSpec, native: Mapping[str, Shape]) -> None:
        self.layout, self.native = layout, dict(native)
        self.steps: list[Step] = []
        self.drops: list[Drop] = []
        self.fixed: dict[str, Callable[[], Tensor]] = {}
        self.unread: dict[str, str] = {}
        for rule in table:
            if isinstance(rule, Drop):
                self.drops.append(rule)
            elif all(spec_field(spec, name) in either(value) for name, value in rule.given.items()):
                self._bind(rule, spec)
        claimed = Counter(key for step in self.steps for key in step.native)
        wrong = [key for key in self.native if claimed[key] != 1]
        if wrong:
            raise LayoutError(f"layout '{layout}' cannot hold the model's {_listing(wrong)}; choose another layout")
        stored = [pair for step in self.steps for pair in step.stored.items()]
        stored += [(key, tuple(value().shape)) for key, value in self.fixed.items()]
        twice = [key for key, count in Counter(key for key, _ in stored).items() if count > 1]
        if twice:
            raise LayoutError(f"layout '{layout}' names twice: {_listing(twice)}")
        self.stored: dict[str, Shape] = dict(stored)

    def _bind(self, rule: Join | Fixed, spec: ViTSpec) -> None:
        if isinstance(rule, Fixed):
            for i in range(spec.depth if "{i}" in rule.key else 1):
                self.fixed[rule.key.format(i=i)] = lambda i=i: rule.value(spec, i)  # type: ignore[misc]
                if not rule.checked:
                    self.unread[rule.key.format(i=i)] = rule.reason
            return
        repeated = any("{i}" in piece.key for piece in rule.native)
        parts = []
        for i in range(spec.depth if repeated else 1):
            native = tuple(
                replace(piece, key=key) for piece in rule.native if (key := piece.key.format(i=i)) in self.native
            )
            if native:
                stored = tuple(
                    replace(part, key=part.key.format(i=i)) if isinstance(part, Piece) else part for part in rule.stored
                )
                parts.append(Part.bound(replace(rule, stored=stored, native=native), spec, i, self.native))
        if parts:
            self.steps += [Step(tuple(parts))] if rule.stacked else [Step((part,)) for part in parts]

    def check(self, found: Mapping[str, Shape], where: str) -> dict[str, str]:
        """Compare the tensors of a checkpoint with those that the layout expects; returns dropped keys with reasons.

        Raises:
            LayoutError: missing, surplus or wrongly shaped tensors, with both sides.
        """
        dropped = {
            key: drop.reason
            for key, shape in found.items()
            if key not in self.stored
            for drop in self.drops
            if drop.covers(key, shape)
        }
        missing = [key for key in self.stored if key not in found]
        surplus = [key for key in found if key not in self.stored and key not in dropped]
        shaped = [key for key, shape in self.stored.items() if key in found and tuple(found[key]) != shape]
        if missing or surplus or shaped:
            lines = [f"{where} does not fit layout '{self.layout}' of this architecture"]
            lines += [f"missing {len(missing)}: {_listing(missing, self.stored)}"] if missing else []
            lines += [f"not expected {len(surplus)}: {_listing(surplus, found)}"] if surplus else []
            lines += [
                f"shape of {key}: expected {list(self.stored[key])}, found {list(found[key])}" for key in shaped[:4]
            ]
            raise LayoutError("; ".join([*lines, "take another copy of it"]))
        return self.unread | dropped

    def check_fixed(self, key: str, tensor: Tensor, where: str) -> None:
        """Compare a stored tensor with what the spec says it is; NaN stands for a value that was never set."""
        if key in self.unread:
            return
        expected = self.fixed[key]().to(tensor.dtype)
        if not torch.equal(torch.where(tensor.isnan(), expected, tensor), expected):
            raise LayoutError(
                f"{where}: {key} is not what layout '{self.layout}' says of such a model; take the file as it was made"
            )

    def import_all(self, tensors: Mapping[str, Tensor], where: str = "the state dict") -> dict[str, Tensor]:
        """A whole state dict of the layout -> native tensors."""
        self.check({key: tuple(t.shape) for key, t in tensors.items()}, where)
        for key in self.fixed:
            self.check_fixed(key, tensors[key], where)
        dtype = next(iter(tensors.values())).dtype
        return {key: t for step in self.steps for key, t in step.load(tensors.__getitem__, dtype)}

    def export_all(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Native tensors -> a whole state dict of the layout."""
        out = {key: t for step in self.steps for key, t in step.store(tensors.__getitem__, self.layout)}
        like = next(iter(out.values()))
        return out | {key: value().to(like) for key, value in self.fixed.items()}


def either(value: Any) -> tuple[Any, ...]:
    """A value, or a tuple of those that will do, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def _unmasked(piece: Piece, tensor: Tensor) -> Tensor:
    if not piece.masked:
        return tensor
    third = tensor.shape[0] // 3
    return torch.cat([tensor[:third], tensor.new_zeros(third), tensor[2 * third :]])


def _cat(tensors: Sequence[Tensor], axis: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim=axis)


def _split(whole: Tensor, shapes: Sequence[Shape], axis: int) -> Sequence[Tensor]:
    return (whole,) if len(shapes) == 1 else torch.split(whole, [shape[axis] for shape in shapes], dim=axis)


def _with_axis(shape: Shape, axis: int, size: int) -> Shape:
    return tuple(size if i == axis else length for i, length in enumerate(shape))


def _listing(keys: Sequence[str], shapes: Mapping[str, Shape] | None = None) -> str:
    shown = [f"{key} {list(shapes[key])}" if shapes else key for key in keys[:4]]
    return ", ".join(shown) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
