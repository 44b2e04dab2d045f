"""Two models on the same pictures: the largest difference of their tokens, pooled features and logits."""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitzoo.checkpoints.create import build
from vitzoo.checkpoints.save import save
from vitzoo.engines.exported import Exported, exported
from vitzoo.engines.record import Sizes
from vitzoo.errors import Argument, LayoutError, SpecError, VitzooError, WeightsError, joined
from vitzoo.layouts.huggingface import peer as huggingface
from vitzoo.layouts.peer import Outputs, Peer, answer
from vitzoo.layouts.tables import GROUPS, LAYOUTS, layout_for
from vitzoo.layouts.timm import peer as timm
from vitzoo.layouts.torchvision import peer as torchvision
from vitzoo.model import TimmDialect
from vitzoo.registry.reference import parse
from vitzoo.spec import Pool, ViTSpec

MOST_REASONS = 400


class Comparison(NamedTuple):
    """One kind of output at one size."""

    size: tuple[int, int]
    output: str
    difference: float
    """Largest absolute difference, as a share of the largest value."""


@dataclass(frozen=True)
class Verification:
    """How far two models are apart."""

    first: str
    second: str
    tolerance: float
    rows: tuple[Comparison, ...]
    skipped: tuple[str, ...] = ()
    """What one of the two cannot do, in words."""

    @property
    def equal(self) -> bool:
        """Whether there are differences and every one is within the tolerance; NaN is not."""
        return bool(self.rows) and all(row.difference <= self.tolerance for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "tolerance": self.tolerance,
            "equal": self.equal,
            "rows": [row._asdict() for row in self.rows],
            "skipped": list(self.skipped),
        }

    def __str__(self) -> str:
        lines = [f"{self.first}", f"{self.second}"]
        for row in self.rows:
            mark = "" if row.difference <= self.tolerance else "  beyond the tolerance"
            lines.append(f"  {row.size[0]}x{row.size[1]}  {row.output:<7} {row.difference:.2e}{mark}")
        lines += [f"  {text}" for text in self.skipped]
        return "\n".join([*lines, f"{'equal' if self.equal else 'DIFFERENT'} at {self.tolerance:g}"])


def ours(model: TimmDialect, name: str) -> Peer:
    """A model of vitzoo."""

    def run(x: Tensor) -> Outputs:
        tokens = model.forward_features(x)
        pooled = {} if model.spec.pool is Pool.NONE else {"pooled": model.forward_head(tokens, pre_logits=True)}
        return {"tokens": tokens, **pooled, **answer(model, tokens, model.spec)}

    return Peer(name, run)


def graph(model: Exported, name: str) -> Peer:
    """An exported model."""
    return Peer(
        f"{name} ({model.record.engine}, {model.record.precision})",
        model.outputs,
        model.record.sizes is Sizes.ANY,
        model.record.tolerance,
    )


PEERS: dict[str, Callable[[Path, ViTSpec], Peer]] = {
    "timm": timm.peer,
    "huggingface": huggingface.peer,
    "torchvision": torchvision.peer,
}
"""The libraries whose own model can be the second, by the group of layouts that they read."""


def verify(
    first: str | Path,
    second: str | Path | None = None,
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    **options: Any,
) -> Verification:
    """Run two models on the same random pictures and compare what they give.

    Args:
        first: weights of the registry, or a checkpoint in any layout.
        second: the same, an exported file, or a library's own implementation: "timm", "huggingface" or "torchvision".
            It reads `first` itself where that is a folder of its own, else vitzoo's export. If not given, the library
            in whose layout `first` is, or else the first that can hold it.
        sizes: (height, width) in pixels; the native size, a larger and a rectangular one if not given.
        tolerance: largest difference that counts as equal, as a share of the largest value; 1e-5 if not given, or
            that of an exported file's precision.
        options: `layout`, `like` and spec fields of the checkpoints, as for `vitzoo.create`. At other sizes than the
            native one, a library's own policy of resampling is taken for both.

    Raises:
        LayoutError: no library's own model can hold `first`.
        MissingExtra: the library is not installed.
        SpecError: the two take different pictures, or give nothing that means the same.
        WeightsError: the library cannot read what it is given, or fails.
    """
    _no_graph(first, options)
    model = build(TimmDialect, first, pretrained=True, **options)
    with _second(first, second, model, options) as (other, policy):
        if policy is not None:
            model = build(TimmDialect, first, pretrained=True, **{**options, "resample": policy})
        (height, width), (down, across) = model.spec.img_size, model.spec.patch_size
        larger, wide = (height + 2 * down, width + 2 * across), (height + down, width + 3 * across)
        wanted = dict.fromkeys((size[0], size[1]) for size in sizes or ((height, width), larger, wide))
        taken = [size for size in wanted if other.any_size or size == model.spec.img_size]
        skipped = [
            f"{size[0]}x{size[1]}: {other.name} takes {height}x{width} alone" for size in wanted if size not in taken
        ]
        rows, alone = _compared(ours(model, f"vitzoo, {first}"), other, model.spec.in_chans, taken, seed)
    skipped += [f"{name}: {other.name} gives nothing that means the same" for name in alone]
    if not rows:
        raise SpecError(
            f"there is nothing to compare, so the two are not said to be equal; {'; '.join(skipped)}. "
            f"Give sizes that both take, such as {model.spec.img_size[0]}x{model.spec.img_size[1]}"
        )
    most = other.tolerance if tolerance is None else tolerance
    return Verification(f"vitzoo, {first}", other.name, most, tuple(rows), tuple(skipped))


def _no_graph(first: str | Path, options: Mapping[str, Any]) -> None:
    if exported(parse(first), options) is not None:
        raise SpecError(
            f"{first} is an exported graph, which stands second; give the model that it was exported from first: "
            f"`vitzoo verify MODEL {Path(first).name}`"
        )


def _compared(
    one: Peer, other: Peer, in_chans: int, sizes: Sequence[tuple[int, int]], seed: int
) -> tuple[list[Comparison], list[str]]:
    """The outputs that both give, at each size; and the names of those that `one` gives alone."""
    rows, alone = [], dict[str, None]()
    for size in sizes:
        x = torch.randn(2, in_chans, *size, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            a = one.run(x)
            with _telling(f"{other.name} fails on pictures of {size[0]}x{size[1]}"):
                b = other.run(x)
        rows += [Comparison(size, name, _difference(a[name], b[name], name)) for name in a if name in b]
        alone |= dict.fromkeys(name for name in a if name not in b)
    return rows, list(alone)


@contextmanager
def _second(
    first: str | Path, second: str | Path | None, model: TimmDialect, options: Mapping[str, Any]
) -> Iterator[tuple[Peer, Any]]:
    if second is not None and str(second) not in PEERS:
        if str(second) in GROUPS or str(second) in LAYOUTS:
            raise LayoutError(f"no model of '{second}' is at hand; compare with a checkpoint, or {' or '.join(PEERS)}")
        if (other_graph := exported(parse(second), {})) is not None:
            _same_pictures(first, model, second, other_graph)
            yield graph(other_graph, str(second)), None
            return
        other = build(TimmDialect, second, pretrained=True, **options)
        _same_pictures(first, model, second, other)
        yield ours(other, f"vitzoo, {second}"), None
        return
    own = model.load_report.layout
    candidates = [str(second)] if second is not None else sorted(PEERS, key=lambda group: own not in GROUPS[group])
    reasons = []
    for group in candidates:
        theirs = Path(first).is_dir() and own in GROUPS[group]
        layout = LAYOUTS[own] if theirs else layout_for(group, model.spec)
        with tempfile.TemporaryDirectory() as name:
            try:
                place = Path(first) if theirs else _exported(model, Path(name) / "export", layout.name)
            except LayoutError as error:
                reasons.append(f"{group}: {error}")
                continue
            with _telling(f"{group} cannot build its own model of {first}"):
                peer = PEERS[group](place, model.spec)
            yield peer, layout.resample
        return
    why = " | ".join(reasons)[:MOST_REASONS]
    raise LayoutError(f"no library's own model can hold {first}; compare it with another checkpoint: {why}")


def _same_pictures(first: str | Path, model: TimmDialect, second: str | Path, other: TimmDialect | Exported) -> None:
    """Refuse to compare models that take different pictures."""
    if (other.spec.in_chans, other.spec.img_size) != (model.spec.in_chans, model.spec.img_size):
        raise SpecError(
            f"{first} takes {model.spec.in_chans}x{model.spec.img_size} and {second} {other.spec.in_chans}x"
            f"{other.spec.img_size}; give for both ",
            *joined([Argument("img_size", list(model.spec.img_size)), Argument("in_chans", model.spec.in_chans)]),
        )


def _exported(model: TimmDialect, path: Path, layout: str) -> Path:
    """Written for a moment. How pictures are prepared from it is nothing to warn of: here they are numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return save(model, path, layout)


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Around another library's code: whatever it fails with is one line, and not taken for a difference."""
    try:
        yield
    except VitzooError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise WeightsError(f"{what}: {type(error).__name__}: {said[:300]}") from error


def _difference(a: Tensor, b: Tensor, name: str) -> float:
    if a.shape != b.shape:
        raise SpecError(
            f"{name} of the two are {list(a.shape)} and {list(b.shape)}; they are not two versions of one model"
        )
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()
