"""From a checkpoint in one layout to a file or folder in another, tensor by tensor."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vitzoo.checkpoints.create import policy_of
from vitzoo.checkpoints.identify import Identified, Told, identified
from vitzoo.checkpoints.save import Export
from vitzoo.checkpoints.tensors import NativeTensors, check_texts, dtype_of
from vitzoo.errors import SpecError, VitzooError, one_line
from vitzoo.files.digest import hash_file
from vitzoo.files.read import Reading
from vitzoo.layouts.tables import named
from vitzoo.spec import Resample, Shape, ViTSpec


class ConvertedRow(NamedTuple):
    """Where one written tensor comes from."""

    source: tuple[str, ...]
    target: str
    transform: str
    shape: Shape


@dataclass(frozen=True)
class ConvertReport:
    """Every tensor of the source and of the target, and what became of it."""

    source: str
    target: str
    source_layout: str
    target_layout: str
    rows: tuple[ConvertedRow, ...]
    dropped: dict[str, str]
    """Tensors of the source that were left out, with the reason."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Digests of the files read and written, by path."""
    because: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    """What the target's own library does otherwise with pictures, in words."""

    @property
    def used(self) -> int:
        """Tensors of the source that went into the target."""
        return len({key for row in self.rows for key in row.source})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "rows": [row._asdict() for row in self.rows], "used": self.used}

    def __str__(self) -> str:
        """What was read and written, and every tensor that did not stay as it was."""
        total = self.used + len(self.dropped)
        lines = [
            f"{self.source} ({self.source_layout}) -> {self.target} ({self.target_layout})",
            *self.because,
            f"{self.used} of {total} tensors used, {len(self.dropped)} dropped with a reason: 100 % accounted for; "
            f"{len(self.rows)} written",
        ]
        lines += [f"  dropped {key}: {reason}" for key, reason in self.dropped.items()]
        lines += [f"  otherwise there: {line}" for line in self.differences]
        lines += [f"sha256 {digest}  {path}" for path, digest in self.sha256.items()]
        return "\n".join(map(one_line, lines))


def convert(
    source: str | Path,
    target: str | Path,
    layout: str,
    *,
    source_layout: str | None = None,
    like: str | None = None,
    wrapper: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    source_img_size: int | Sequence[int] | None = None,
    resample: Resample | str | None = None,
    dtype: torch.dtype | str | None = None,
    shard_size: int | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
    **fields: Any,
) -> ConvertReport:
    """Write the checkpoint `source` in `layout`; a few tensors are in memory at a time.

    Args:
        source: a checkpoint file or folder, or weights of the registry.
        target, layout: a file (its suffix says the kind) or, where the layout's library reads one, a new folder; in a
            layout, or the first of a library's group ("timm", "huggingface") that can hold the model.
        source_layout, like, wrapper, prefix, source_img_size, resample, fields: of `source`, as for `vitzoo.create`.
        drop: what is left out on purpose: fields of the spec that `layout` cannot hold, and tensors of `source`.
        dtype, shard_size: of all tensors written, each keeps its own if not given; most bytes of one safetensors file.
        progress: called with the number of tensors written and of all.

    Raises:
        LayoutError, WeightsError: `source` is in no known layout, its architecture is not certain, or `layout` cannot
            hold it; files that cannot be read or written.
    """
    named(layout)  # an unknown one is said before anything is fetched
    drop, tensors_left = (_of_spec([drop] if isinstance(drop, str) else drop, wanted) for wanted in (True, False))
    told = Told(source_layout, like, prefix, source_img_size or fields.get("img_size"))
    how, number = Reading(streamed=True, wrapper=wrapper, drop=tensors_left), dtype_of(dtype)
    found = _source(source, fields, told, how, resample)
    tensors, export = found.tensors(), Export.planned(layout, found.spec, found.about, drop)
    rows = tuple(_rows(tensors, export))
    written = export.write(Path(target), tensors.read, tensors.dtype, number, shard_size, _counted(progress, len(rows)))
    return ConvertReport(
        *(str(found.file.path), str(written)),
        *(found.layout.name, export.layout.name),
        rows,
        _dropped(tensors, rows, drop),
        {str(path): hash_file(path) for place in (found.file.path, written) for path in _files(place)},
        (*tensors.said, *found.because),
        export.differences(Path(target)),
    )


def _source(
    source: str | Path, fields: Mapping[str, Any], told: Told, how: Reading, resample: Resample | str | None
) -> Identified:
    """What `source` is; an error calls its layout as `convert` does."""
    check_texts(source_layout=told.layout, like=told.like, wrapper=how.get("wrapper"), prefix=told.prefix)
    policy = policy_of(resample)
    try:
        found = identified(source, fields, told, how)
    except VitzooError as error:
        raise error.renamed({"layout": "source_layout"}) from None
    _refuse(found.changes)
    found.about = found.about.replace(**policy)
    return found


def _counted(progress: Callable[[int, int], object], total: int) -> Callable[[str], object]:
    done = count(1)
    return lambda key: progress(next(done), total)


def _of_spec(names: Sequence[str], wanted: bool) -> list[str]:
    """Those that are fields of the spec, or those that are not."""
    return [name for name in names if (name in ViTSpec.model_fields) is wanted]


def _refuse(changes: Iterable[str]) -> None:
    if named := ", ".join(changes):
        raise SpecError(
            f"converting does not change a model, and {named} would; create it with these fields, then save it"
        )


def _rows(tensors: NativeTensors, export: Export) -> Iterator[ConvertedRow]:
    """Every tensor that is written, with those that it is made of."""
    for step in export.binding.steps:
        source = tuple(dict.fromkeys(key for native in step.native for key in tensors.stored(native)))
        ways = dict.fromkeys([*(tensors.transform(native) for native in step.native), step.transform])
        transform = ", then ".join(way for way in ways if way != "same") or "same"
        for name, shape in step.stored.items():
            yield ConvertedRow(source, export.keys[name], transform, shape)
    for name in export.binding.fixed:
        yield ConvertedRow((), export.keys[name], "follows from the architecture", export.binding.stored[name])


def _dropped(tensors: NativeTensors, rows: Sequence[ConvertedRow], drop: Sequence[str]) -> dict[str, str]:
    """Every tensor of the source that goes into none of `rows`, with the reason."""
    used = {key for row in rows for key in row.source}
    fixed = {tensors.keys[name] for name in tensors.binding.fixed}
    left = [key for key in tensors.file.shapes if key not in used and key not in tensors.dropped]
    on_purpose = f"left out on purpose: {', '.join(drop)}"
    return tensors.dropped | {key: "it follows from the architecture" if key in fixed else on_purpose for key in left}


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
