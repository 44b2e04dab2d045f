"""The configuration beside a checkpoint, read as timm, transformers and open_clip do, and written as two of them do."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitzoo.errors import MissingFile, WeightsError
from vitzoo.layouts.border import HuggingFace, OpenClip, Processor, Timm
from vitzoo.layouts.huggingface import config as hf_config
from vitzoo.layouts.huggingface import head as hf_head
from vitzoo.layouts.huggingface import processor as hf_processor
from vitzoo.layouts.huggingface import tables as huggingface
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.open_clip import config as open_clip_config
from vitzoo.layouts.tables import named
from vitzoo.layouts.timm import config as timm_config
from vitzoo.layouts.timm import pictures as timm_pictures
from vitzoo.layouts.timm import tables as timm
from vitzoo.registry import class_names
from vitzoo.small_files import read_small
from vitzoo.spec import About, Task, ViTSpec

Read = Callable[[str], "dict[str, Any] | None"]
"""What a file of the folder holds, by its name."""
Reader = Callable[[Mapping[str, Any], Read, Path], "Beside | None"]


@dataclass(frozen=True)
class Beside:
    """What was found; all of it is empty where there are no such files."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """What the file states of the spec; true for the weights."""
    preprocessing: Mapping[str, Any] | None = None
    labels: tuple[str, ...] | None = None
    name: str | None = None
    """timm's name of the model."""
    layout: str | None = None
    """The layout that the checkpoint is in, or the group of them."""
    usual: Mapping[str, Any] = field(default_factory=dict)
    """Fields that the class or entry point takes where the file is silent, and code could have said otherwise."""
    file: str = "config.json"
    """The name of the configuration file."""
    layouts: tuple[str, ...] = ()
    """Those of `layout` that the class which the file names is stored in."""
    license: Any = None
    """As the file names it."""
    silent: frozenset[str] = frozenset()
    """Those of `fields` that it leaves to the default of the class that it names."""
    task: Task | None = None
    """What the numbers of the head mean, if not one of `labels`."""
    of_another: bool = False
    """Whether the file is there and speaks of another checkpoint than this one."""

    @property
    def tables(self) -> list[Layout]:
        """The layouts that the checkpoint may be in, as the file says; none if it does not."""
        if self.layout is None:
            return []
        return [table for table in named(self.layout) if not self.layouts or table.name in self.layouts]


def read_beside(checkpoint: Path, listed: Collection[str] | None = None) -> Beside:
    """Read the configuration in the folder of a checkpoint; of the files that are `listed`, if they are.

    Raises:
        WeightsError: a file that is not the JSON it should be.
    """
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent

    def read(name: str) -> dict[str, Any] | None:
        found = _json(folder / name) if listed is None or name in listed else None
        if found is None and listed is not None and name in listed:
            raise MissingFile(f"{folder / name} was removed before it was read; try again")
        return found

    readers = [(open_clip_config.FILE, _open_clip), ("config.json", _timm_or_huggingface)]
    if checkpoint.name not in open_clip_config.WEIGHTS:
        readers.reverse()
    for name, reader in readers:
        config = read(name)
        if config is not None and (found := reader(config, read, folder / name)) is not None:
            return found
    return Beside()


def _timm_or_huggingface(config: Mapping[str, Any], read: Read, where: Path) -> Beside | None:
    if "architecture" in config:  # transformers' classes around a model of timm have timm's own file
        Timm.checked(config, where)
        said = timm_config.told(config)
        return Beside(
            said.fields,
            timm_pictures.preprocessing_fields(config),
            timm_config.labels(config),
            said.architecture,
            layout="timm",
            usual=said.usual,
            layouts=said.layouts,
            license=timm_config.license(config),
        )
    if "model_type" not in config:
        return None
    HuggingFace.checked(config, where)
    # Version 5 of transformers writes a processor of pictures and texts as one file.
    whole = read("processor_config.json") or {}
    processor = read("preprocessor_config.json") or whole.get("image_processor")
    if processor is not None:
        Processor.checked(processor, where.with_name("preprocessor_config.json"))
    fields, usual, silent = hf_config.told(config)
    return Beside(
        fields,
        None if processor is None else hf_processor.preprocessing_fields(processor, config),
        hf_config.labels(config),
        layout=hf_config.layout_name(config),
        usual=usual,
        silent=silent,
        task=hf_head.head_task(config),
    )


def _open_clip(config: Mapping[str, Any], read: Read, where: Path) -> Beside:
    OpenClip.checked(config, where)
    said = open_clip_config.told(config)
    return Beside(
        said.fields,
        said.preprocessing,
        name=said.name,
        layout=said.layout,
        usual=said.usual,
        file=open_clip_config.FILE,
        layouts=said.layouts,
    )


def companions(layout: str, spec: ViTSpec, about: About) -> dict[str, dict[str, Any]]:
    """The files that the layout's own library reads beside the weights, by name; none where it reads none.

    Raises:
        LayoutError: the library has no way to say what the model is.
    """
    if layout in {table.name for table in huggingface.LAYOUTS}:
        return {
            "config.json": hf_config.config(layout, spec, class_names(about.labels)) | hf_head.problem(about.task),
            "preprocessor_config.json": hf_processor.processor_config(layout, spec, about.preprocessing),
        }
    if layout in {table.name for table in timm.LAYOUTS}:
        said = timm_config.config(spec, layout, about.preprocessing, class_names(about.labels), about.license)
        return {"config.json": said}
    return {}


def _json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(read_small(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} beside the checkpoint cannot be read: {error}; mend it or move it away") from None
    if not isinstance(data, dict):
        raise WeightsError(f"{path} beside the checkpoint holds no JSON object; mend it or move it away")
    return data
