"""Axis patterns: "d heads k -> (heads k) d" says how a stored tensor's axes become the model's, and back.

The notation is that of einops, of which rules need little: names, groups in brackets, and 1. einops itself would import
`torch._dynamo` with the first tensor, which takes longer than to load a model.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from math import prod

from torch import Tensor

from vitzoo.errors import LayoutError
from vitzoo.spec import Shape

Sizes = Mapping[str, int]
Groups = tuple[tuple[str, ...], ...]


@cache
def groups(pattern: str, back: bool = False) -> tuple[Groups, Groups]:
    """Both sides of a pattern, each axis a tuple of names."""
    left, right = (_side(text) for text in pattern.split("->"))
    return (right, left) if back else (left, right)


def _side(text: str) -> Groups:
    groups: list[tuple[str, ...]] = []
    inside: list[str] | None = None
    for word in text.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            inside = []
        elif word == ")":
            groups.append(tuple(inside or ()))
            inside = None
        elif inside is not None:
            inside.append(word)
        else:
            groups.append(() if word == "1" else (word,))
    return tuple(groups)


def axis_lengths(pattern: str, shape: Sequence[int], sizes: Sizes, back: bool = False) -> dict[str, int]:
    """The length of every axis that `pattern` names, from a shape and the sizes that it cannot tell.

    Raises:
        LayoutError: the shape has other axes than the pattern.
    """
    left, _ = groups(pattern, back)
    lengths: dict[str, int] = {}
    fits = len(left) == len(shape)
    for group, length in zip(left, shape, strict=False):
        known = sizes if len(group) > 1 else {}
        unknown = [name for name in group if name not in known]
        rest, left_over = divmod(length, prod(known[name] for name in group if name in known))
        fits = fits and not left_over and (len(unknown) == 1 or (not unknown and rest == 1))
        lengths |= {name: known[name] for name in group if name in known} | dict.fromkeys(unknown, rest)
    if not fits:
        raise LayoutError(f"a tensor of shape {list(shape)} does not have the axes of '{pattern}'")
    return lengths


def moved_shape(pattern: str | None, shape: Shape, sizes: Sizes, back: bool = False) -> Shape:
    """The shape after `move`."""
    if pattern is None:
        return shape
    lengths = axis_lengths(pattern, shape, sizes, back)
    return tuple(prod(lengths[name] for name in group) for group in groups(pattern, back)[1])


def move(pattern: str | None, tensor: Tensor, sizes: Sizes, back: bool = False) -> Tensor:
    """Reorder, join and split axes; `back` reads the pattern from right to left."""
    if pattern is None:
        return tensor
    left, right = groups(pattern, back)
    lengths = axis_lengths(pattern, tuple(tensor.shape), sizes, back)
    names = [name for group in left for name in group]
    order = [names.index(name) for group in right for name in group]
    whole = tensor.reshape([lengths[name] for name in names]).permute(order)
    return whole.reshape([prod(lengths[name] for name in group) for group in right])
