"""A layout is a table read in two directions: forwards it imports a checkpoint, backwards it exports a model.

A table is a function from a spec to a list of rules. A `Join` says that some tensors of the layout, laid end to end
along one axis, are some tensors of the model laid end to end; either side may be a single tensor. A `Piece` of the
layout may be seen through an axis pattern (einops), which is its own inverse. A `Zeros` stands in a join for a part
that the layout does not store; export checks that it really is zero. A `Drop` names what the layout may hold and the
model has no use for, with the reason.

`bind` expands the rules over the native tensors into a closed list of keys, so that missing, surplus and wrongly shaped
tensors are set differences. No rule looks at a module.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor

from vitzoo.errors import LayoutError
from vitzoo.spec import Shape, ViTSpec


@dataclass(frozen=True)
class Piece:
    """One tensor of the layout. `pattern` leads from the stored axes to the model's: "1 n d -> n d"."""

    key: str
    pattern: str | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def load(self, tensor: Tensor) -> Tensor:
        return tensor if self.pattern is None else rearrange(tensor, self.pattern, **self.sizes)

    def store(self, tensor: Tensor) -> Tensor:
        if self.pattern is None:
            return tensor
        stored, model = self.pattern.split("->")
        return rearrange(tensor, f"{model} -> {stored}", **self.sizes)


@dataclass(frozen=True)
class Zeros:
    """A part of a join that the layout does not store because it is all zeros; `size` is its length."""

    size: int


@dataclass(frozen=True)
class Join:
    """`stored` laid end to end along `axis` equals the native tensors laid end to end along it.

    Native tensors with more than `ndim` axes enter with their leading axes flattened, so that a grid
    (rows, columns, dim) is a row of positions beside a prefix (slots, dim).
    """

    stored: tuple[Piece | Zeros, ...]
    native: tuple[str, ...]
    axis: int = 0
    ndim: int | None = None


@dataclass(frozen=True)
class Drop:
    """A tensor of the layout that is left unread on purpose."""

    key: str
    reason: str


Rule = Join | Drop
Table = Callable[[ViTSpec], Iterable[Rule]]


def same(stored: str, native: str, pattern: str | None = None, **sizes: int) -> Join:
    """One tensor is one tensor, perhaps with its axes in another order."""
    return Join((Piece(stored, pattern, sizes),), (native,))


@dataclass(frozen=True)
class Step:
    """One bound join: the shapes of all its parts are known."""

    stored: tuple[Piece | Zeros, ...]
    native: tuple[str, ...]
    axis: int
    canonical: tuple[Shape, ...]  # of the native tensors, all but the joined axis alike

    @property
    def transform(self) -> str:
        """In words, for the report."""
        patterns = [p.pattern for p in self.stored if isinstance(p, Piece) and p.pattern]
        join = f"{len(self.stored)} to {len(self.native)}" if len(self.stored) + len(self.native) > 2 else ""
        return ", ".join(filter(None, [join, *dict.fromkeys(patterns)])) or "same"


class Binding:
    """A layout's table bound to the native tensors of one spec."""

    def __init__(self, layout: str, rules: Iterable[Rule], native: Mapping[str, Shape]) -> None:
        self.layout = layout
        self.native = dict(native)
        self.steps: list[Step] = []
        self.drops: dict[str, str] = {}
        for rule in rules:
            if isinstance(rule, Drop):
                self.drops[rule.key] = rule.reason
            elif not rule.native:
                keys = [part.key for part in rule.stored if isinstance(part, Piece)]
                raise LayoutError(f"layout '{layout}' needs {_listing(keys)}, and the model has nothing for it")
            else:
                self.steps.append(self._bind(rule))
        claimed = Counter(key for step in self.steps for key in step.native)
        wrong = [key for key in self.native if claimed[key] != 1] + [key for key in claimed if key not in self.native]
        if wrong:
            raise LayoutError(f"layout '{layout}' cannot hold the model's {_listing(sorted(wrong))}")
        # Running the export on tensors without data gives the stored shapes, whatever the patterns do.
        meta = {key: torch.empty(shape, device="meta") for key, shape in self.native.items()}
        stored = [(key, tuple(t.shape)) for step in self.steps for key, t in self._export(step, meta, check=False)]
        twice = [key for key, count in Counter(key for key, _ in stored).items() if count > 1]
        if twice:
            raise LayoutError(f"layout '{layout}' names twice: {_listing(twice)}")
        self.stored: dict[str, Shape] = dict(stored)

    def _bind(self, rule: Join) -> Step:
        shapes = [self.native.get(key, ()) for key in rule.native]
        flat = [shape if rule.ndim is None else _flatten(shape, rule.ndim) for shape in shapes]
        return Step(rule.stored, rule.native, rule.axis, tuple(flat))

    def check(self, found: Mapping[str, Shape], where: str) -> list[str]:
        """Compare the tensors of a checkpoint with those that the layout expects; returns the dropped keys.

        Raises:
            LayoutError: missing, surplus or wrongly shaped tensors, with both sides.
        """
        missing = [key for key in self.stored if key not in found]
        surplus = [key for key in found if key not in self.stored and key not in self.drops]
        shaped = [key for key, shape in self.stored.items() if key in found and tuple(found[key]) != shape]
        if missing or surplus or shaped:
            lines = [f"{where} does not fit layout '{self.layout}' of this architecture"]
            lines += [f"missing {len(missing)}: {_listing(missing, self.stored)}"] if missing else []
            lines += [f"not expected {len(surplus)}: {_listing(surplus, found)}"] if surplus else []
            lines += [
                f"shape of {key}: expected {list(self.stored[key])}, found {list(found[key])}" for key in shaped[:8]
            ]
            raise LayoutError("; ".join(lines))
        return [key for key in found if key in self.drops]

    def import_step(self, step: Step, read: Callable[[str], Tensor]) -> list[tuple[str, Tensor]]:
        """Read one step's stored tensors and return its native ones."""
        loaded = [piece.load(read(piece.key)) if isinstance(piece, Piece) else piece for piece in step.stored]
        like = next(part for part in loaded if isinstance(part, Tensor))
        parts = [
            like.new_zeros(_with_axis(like.shape, step.axis, p.size)) if isinstance(p, Zeros) else p for p in loaded
        ]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=step.axis)
        if len(step.native) == 1:
            return [(step.native[0], whole.reshape(self.native[step.native[0]]))]
        sizes = [shape[step.axis] for shape in step.canonical]
        pieces = zip(step.native, torch.split(whole, sizes, dim=step.axis), strict=True)
        return [(key, part.reshape(self.native[key])) for key, part in pieces]

    def export_step(self, step: Step, read: Callable[[str], Tensor]) -> list[tuple[str, Tensor]]:
        """Read one step's native tensors and return its stored ones."""
        return self._export(step, {key: read(key) for key in step.native}, check=True)

    def _export(self, step: Step, tensors: Mapping[str, Tensor], check: bool) -> list[tuple[str, Tensor]]:
        parts = [tensors[key].reshape(shape) for key, shape in zip(step.native, step.canonical, strict=True)]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=step.axis)
        if len(step.stored) == 1:
            (piece,) = step.stored
            assert isinstance(piece, Piece)
            return [(piece.key, piece.store(whole))]
        known = sum(part.size for part in step.stored if isinstance(part, Zeros))
        pieces = [part for part in step.stored if isinstance(part, Piece)]
        size = (whole.shape[step.axis] - known) // len(pieces)
        sizes = [part.size if isinstance(part, Zeros) else size for part in step.stored]
        out = []
        for part, tensor in zip(step.stored, torch.split(whole, sizes, dim=step.axis), strict=True):
            if isinstance(part, Piece):
                out.append((part.key, part.store(tensor)))
            elif check and tensor.any():
                raise LayoutError(
                    f"layout '{self.layout}' does not store a part of {step.native[0]} that has to be zero, "
                    f"but the model holds up to {tensor.abs().max().item():.3g} there"
                )
        return out

    def import_all(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A whole state dict of the layout -> native tensors."""
        self.check({key: tuple(t.shape) for key, t in tensors.items()}, "the state dict")
        return {key: t for step in self.steps for key, t in self.import_step(step, tensors.__getitem__)}

    def export_all(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Native tensors -> a whole state dict of the layout."""
        return {key: t for step in self.steps for key, t in self.export_step(step, tensors.__getitem__)}


def _flatten(shape: Shape, ndim: int) -> Shape:
    lead = len(shape) - ndim + 1
    size = 1
    for length in shape[:lead]:
        size *= length
    return (size, *shape[lead:])


def _with_axis(shape: Sequence[int], axis: int, size: int) -> list[int]:
    return [size if i == axis else length for i, length in enumerate(shape)]


def _listing(keys: Sequence[str], shapes: Mapping[str, Shape] | None = None) -> str:
    shown = [f"{key} {list(shapes[key])}" if shapes else key for key in keys[:6]]
    return ", ".join(shown) + (f" and {len(keys) - 6} more" if len(keys) > 6 else "")
