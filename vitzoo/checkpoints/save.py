"""From native tensors to a file or folder in any layout that can hold them."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from vitzoo.checkpoints.credits import CARD, card, credits
from vitzoo.errors import WeightsError
from vitzoo.files.atomic import replacing_folder
from vitzoo.files.read import READERS
from vitzoo.files.write import write
from vitzoo.layouts.beside import companions
from vitzoo.layouts.differences import differences
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.native import KEY, describe
from vitzoo.layouts.rules import Binding, Read
from vitzoo.layouts.tables import layout_for
from vitzoo.model import TimmDialect
from vitzoo.registry.licenses import check_base
from vitzoo.spec import About, Shape, ViTSpec


@dataclass(frozen=True)
class Export:
    """All that is written besides the tensors' values: what a model is, and the layout it goes into."""

    layout: Layout
    spec: ViTSpec
    about: About

    @classmethod
    def planned(cls, layout: str, spec: ViTSpec, about: About, drop: Sequence[str] = ()) -> "Export":
        """Choose the layout and leave out the fields in `drop`.

        Raises:
            LayoutError: the layout cannot hold the rest.
            LicenseError: the weights were put under a licence that what they were made from does not allow.
        """
        check_base(about, about.license)
        table = layout_for(layout, spec, drop)
        return cls(table, table.without(spec, drop), about)

    @cached_property
    def binding(self) -> Binding:
        return self.layout.bind(self.spec, writing=True)

    @cached_property
    def keys(self) -> dict[str, str]:
        """From the rules' names to the keys of the file."""
        return self.layout.written(self.binding.stored)

    @property
    def metadata(self) -> dict[str, str]:
        """Of a safetensors file."""
        native = self.layout.name == "vitzoo"
        return {"format": "pt"} | ({KEY: describe(self.spec, self.about)} if native else credits(self.about))

    def differences(self, path: Path) -> tuple[str, ...]:
        """What the layout's own library does otherwise with pictures, where its configuration is written."""
        return () if path.suffix in READERS else differences(self.layout, self.spec, self.about)

    def write(
        self,
        path: Path,
        read: Read,
        dtype_of: Callable[[str], torch.dtype],
        dtype: torch.dtype | None = None,
        shard_size: int | None = None,
        progress: Callable[[str], object] = lambda key: None,
    ) -> Path:
        """Write the native tensors that `read` gives; returns the file, the folder or the index of shards.

        `dtype` is for all of them; if not given, `dtype_of` says it of each.
        """
        binding = self.binding  # what the layout cannot hold is said before its library's configuration is made
        files = {} if path.suffix in READERS else companions(self.layout.name, self.spec, self.about)
        if path.suffix not in READERS and not files:
            path = path.with_name(f"{path.name}{self.layout.suffix}")
        types = {name: dtype or dtype_of(step.native[0]) for step in binding.steps for name in step.stored}
        types |= dict.fromkeys(binding.fixed, dtype or next(iter(types.values())))
        planned: Mapping[str, tuple[Shape, torch.dtype]] = {
            self.keys[name]: (shape, types[name]) for name, shape in binding.stored.items()
        }

        def tensors() -> Iterator[tuple[str, Tensor]]:
            stored = (pair for step in binding.steps for pair in step.store(read, self.layout.name))
            for name, tensor in chain(stored, ((name, value()) for name, value in binding.fixed.items())):
                yield self.keys[name], tensor.to(types[name])
                progress(self.keys[name])

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".safetensors":
                return write(path, tensors(), planned, self.metadata, shard_size)[-1]
            if path.suffix in READERS:
                return write(path, tensors(), planned, credits(self.about), shard_size)[-1]
            with replacing_folder(path) as partial:
                write(partial / "model.safetensors", tensors(), planned, self.metadata, shard_size)
                for name, data in files.items():
                    (partial / name).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
                if (text := card(self.about)) is not None:
                    (partial / CARD).write_text(text, encoding="utf-8")
            return path
        except OSError as error:
            why = error.strerror or str(error)
            raise WeightsError(
                f"{path} cannot be written: {why}; mend that or give another path. What was there before is unchanged"
            ) from error


def save(
    model: TimmDialect,
    path: str | Path,
    layout: str = "vitzoo",
    drop: str | Sequence[str] = (),
    dtype: torch.dtype | None = None,
    shard_size: int | None = None,
) -> Path:
    """Write a model in `layout` (a layout or the group of a library); returns the file or folder.

    A native file ("vitzoo") describes itself: `vitzoo.create(path)` needs nothing else. For transformers and timm a
    path without a suffix is a folder, with the configuration that their own tools read; for other layouts it gets the
    suffix that is usual. Everything is written under a temporary name and renamed when it is whole.

    `drop` names fields of the spec that the layout cannot hold and that are left out on purpose. `shard_size` is the
    most bytes of one safetensors file. A native file keeps all of `model.about`; other layouts keep what they have a
    place for, and the licence and the past go with all: in the metadata of safetensors, on a folder's card, in the
    comment at the end of other kinds of files, which are archives. Where the library prepares pictures otherwise than
    vitzoo, a warning says by how much.

    Raises:
        LayoutError: the layout cannot hold the architecture, or a value of it.
        LicenseError: `model.license` allows more than that of what the weights were made from.
        WeightsError: the path cannot be written, or the kind of file cannot hold this.
    """
    export = Export.planned(layout, model.spec, model.about, [drop] if isinstance(drop, str) else drop)
    state = model.state_dict()
    written = export.write(
        Path(path), lambda key: state[key].detach().cpu(), lambda key: state[key].dtype, dtype, shard_size
    )
    for line in export.differences(Path(path)):
        warnings.warn(f"of the export: {line}", stacklevel=2)
    return written
