"""A checkpoint seen as native tensors, each computed from the file when it is asked for."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from vitzoo.errors import Argument, SpecError, WeightsError, shown
from vitzoo.files.tensor_file import TensorFile
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.placement import view
from vitzoo.layouts.rules import Part, Step
from vitzoo.spec import ViTSpec

LONGEST_REASON = 200
K = TypeVar("K")
T = TypeVar("T")


def computes(device: torch.device) -> bool:
    """Whether tensors on a device have values; on the meta device there is nothing to read or to draw."""
    return device.type != "meta"


class NativeTensors:
    """The native tensors of `file`, which holds the architecture `spec` in `layout`.

    With `blank` no tensor is read: they are on the meta device, without values. `prefix` is what the caller says to
    stand in front of the names of the model's tensors.

    Little is kept: the last few parts that were computed, since one stored tensor may give several native ones, and of
    a layout that stacks all blocks the stored tensors of one kind. Ask for these step by step and not block by block,
    or each stack is read from the file again for every block.

    Raises:
        LayoutError: the file does not hold exactly the tensors that its layout asks for.
        WeightsError: integers stand where weights are asked for.
    """

    def __init__(
        self, file: TensorFile, layout: Layout, spec: ViTSpec, blank: bool = False, prefix: str | None = None
    ) -> None:
        self.file, self.layout, self.spec, self.blank = file, layout, spec, blank
        self.binding = layout.bind(spec)
        placed = view(layout, file.shapes, prefix)
        self.prefix = placed.prefix
        self.keys = {**placed.names, **{key: key for key in placed.strange}}
        shapes = {name: file.shapes[key] for name, key in self.keys.items()}
        dropped = self.binding.check(shapes, str(file.path))
        self.dropped = {**file.left, **placed.left, **{self.keys[name]: reason for name, reason in dropped.items()}}
        self._refuse_integers()
        for name in () if blank else self.binding.fixed:
            self.binding.check_fixed(name, file.read(self.keys[name]), str(file.path))
        self._home: dict[str, tuple[Step, int, Part]] = {
            piece.key: (step, number, part)
            for step in self.binding.steps
            for number, part in enumerate(step.parts)
            for piece in part.rule.native
        }
        self._parts: OrderedDict[tuple[str, ...], dict[str, Tensor]] = OrderedDict()
        self._stacks: dict[str, Tensor] = {}
        counts = Counter(dtype for dtype in file.dtypes.values() if dtype.is_floating_point)
        self.common_dtype = max(counts, key=counts.__getitem__, default=torch.float32)

    @property
    def said(self) -> tuple[str, ...]:
        """What a reader of a report should know of the file: what was taken of it, from behind which prefix."""
        prefix = (f"prefix '{self.prefix}' taken off the names of the model's tensors",) if self.prefix else ()
        return (*self.file.notes, *prefix)

    def _refuse_integers(self) -> None:
        read = [self.keys[name] for step in self.binding.steps for name in step.stored]
        whole = [key for key in read if not self.file.dtypes[key].is_floating_point]
        if whole:
            dtype = self.file.dtypes[whole[0]]
            more = f" and {len(whole) - 1} more" if whole[1:] else ""
            kind = str(dtype).removeprefix("torch.")
            raise WeightsError(
                f"{self.file.path}: '{whole[0]}'{more} holds {dtype.itemsize * 8}-bit integers ({kind}), which are no "
                "weights: a quantised export, whose scales are not read; take the file that it was made from, or let "
                "the program that made it write floating point"
            )

    def stored(self, native: str) -> list[str]:
        """The keys of the file that a native tensor is made of."""
        return [self.keys[name] for name in self._home[native][0].stored]

    def transform(self, native: str) -> str:
        """What leads from the file's tensors to a native one, in words."""
        return self._home[native][0].transform

    def dtype(self, native: str) -> torch.dtype:
        """The type that a native tensor has before it is converted."""
        stored = self.stored(native)
        return self.file.dtypes[stored[0]] if stored else self.common_dtype

    def read(self, native: str) -> Tensor:
        """One native tensor."""
        step, number, part = self._home[native]
        name = tuple(piece.key for piece in part.rule.native)

        def one(key: str) -> Tensor:
            if not step.rule.stacked:
                return self._stored(key)
            if key not in self._stacks:
                if not self._stacks.keys() <= step.stored.keys():
                    self._stacks.clear()
                self._stacks[key] = self._stored(key)
            return self._stacks[key][number]

        return _kept(self._parts, name, lambda: dict(part.load(one, self.common_dtype)))[native]

    def _stored(self, name: str) -> Tensor:
        key = self.keys[name]
        if self.blank:
            return torch.empty(self.file.shapes[key], dtype=self.file.dtypes[key], device="meta")
        return self.file.read(key)


def _kept(cache: OrderedDict[K, T], key: K, make: Callable[[], T], most: int = 4) -> T:
    if key not in cache:
        while len(cache) >= most:
            cache.popitem(last=False)
        cache[key] = make()
    cache.move_to_end(key)
    return cache[key]


def device_of(asked: torch.device | str | None) -> torch.device:
    """A device that was given as torch has it or by its name; the CPU if none was.

    Raises:
        SpecError: none that torch knows, or that this machine has.
    """
    try:
        device = torch.device(asked or "cpu")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        why = str(error).splitlines()[0][:LONGEST_REASON].rstrip(".")
        raise SpecError(
            f"device {shown(asked)} cannot be used: {why}; give one that this machine has, such as ",
            Argument("device", "cpu"),
        ) from None
    return device


def check_texts(**given: object) -> None:
    """Raises a SpecError for an argument that is neither text nor left out."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise SpecError(f"{name} is {shown(value)}; expected text, such as ", Argument(name, EXAMPLES[name]))


EXAMPLES = {"layout": "timm", "source_layout": "timm", "like": "vit_s16", "wrapper": "ema", "prefix": "model."}


def dtype_of(asked: torch.dtype | str | None) -> torch.dtype | None:
    """A type of numbers that was given as torch has it or by its name; None if none was.

    Raises:
        SpecError: no type that weights have.
    """
    found = getattr(torch, asked.removeprefix("torch."), None) if isinstance(asked, str) else asked
    if asked is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise SpecError(f"unknown dtype '{asked}'; choose float32, float16 or bfloat16")
    return found
