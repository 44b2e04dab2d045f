"""The lines of Python with which a reader of the hub uses a published model, for the library of each layout."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vitzoo.images.load import MODES
from vitzoo.model import TimmDialect
from vitzoo.spec import TaskKind


@dataclass(frozen=True)
class Place:
    """Where the folder with the model will be found: in a repository of the hub, or beside the reader."""

    name: str
    revision: str | None = None
    path: str | None = None
    """Of a folder that is not on the hub, from where the reader stands."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """A folder here. A card may be passed on, so it has no path of this machine."""
        found, here = folder.resolve(), Path.cwd()
        return cls(found.name, path=found.relative_to(here).as_posix() if found.is_relative_to(here) else found.name)

    @property
    def where(self) -> str:
        """The repository's name or the path."""
        return self.name if self.path is None else self.path

    @property
    def address(self) -> str:
        """What `vitzoo.create` takes."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf-hub:{self.name}{revision}" if self.path is None else self.path


def task_of(model: TimmDialect) -> str:
    """As the hub calls it."""
    return "image-classification" if model.num_classes else "image-feature-extraction"


def _use_vitzoo(model: TimmDialect, place: Place, folder: Path) -> Iterator[str]:
    pictures = model.spec.in_chans in MODES
    yield from ("import vitzoo", "") if pictures else ("import torch", "import vitzoo", "")
    yield f'model = vitzoo.create("{place.address}")'
    yield 'x = vitzoo.preprocess(model)("picture.jpg").unsqueeze(0)' if pictures else _random(model)
    yield from _answer(model, "model(x)", "model.labels")


def _use_timm(model: TimmDialect, place: Place, folder: Path) -> Iterator[str]:
    pictures = model.spec.in_chans == 3
    address = place.address if place.path is None else f"local-dir:{place.path}"
    yield from ("import timm", "from PIL import Image", "") if pictures else ("import timm", "import torch", "")
    yield f'model = timm.create_model("{address}", pretrained=True).eval()'
    if pictures:
        yield "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"
        yield 'x = transform(Image.open("picture.jpg").convert("RGB")).unsqueeze(0)'
    else:
        yield _random(model)
    yield from _answer(model, "model(x)", 'model.pretrained_cfg["label_names"]')


def _use_transformers(model: TimmDialect, place: Place, folder: Path) -> Iterator[str]:
    pictures = model.spec.in_chans == 3
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    where = f'"{place.where}"' + (f', revision="{place.revision}"' if place.revision else "")
    yield "from PIL import Image" if pictures else "import torch"
    yield from (f"from transformers import {'AutoImageProcessor, ' if pictures else ''}{kind}", "")
    yield f"model = {kind}.from_pretrained({where})"
    if pictures:
        yield f"processor = AutoImageProcessor.from_pretrained({where})"
        yield 'x = processor(Image.open("picture.jpg").convert("RGB"), return_tensors="pt")["pixel_values"]'
    else:
        yield _random(model)
    features = "image_embeds" if kind.endswith("WithProjection") else "last_hidden_state"
    answer = "logits" if task_of(model) == "image-classification" else features
    yield from _answer(model, f"model(x).{answer}", "model.config.id2label")


SNIPPETS = {"vitzoo": _use_vitzoo, "huggingface": _use_transformers, "timm": _use_timm}


def _random(model: TimmDialect) -> str:
    channels, height, width = model.pretrained_cfg["input_size"]
    return f"x = torch.randn(1, {channels}, {height}, {width})  # a picture, prepared as below"


def _answer(model: TimmDialect, call: str, names: str) -> Iterator[str]:
    if task_of(model) != "image-classification":
        yield f"{'features' if model.spec.out_dim is None else 'embedding'} = {call}"
    elif model.about.kind is TaskKind.MULTI_LABEL:
        yield f"print({call}[0].sigmoid().tolist())  # the probability of each of {names}"
    elif model.about.kind is TaskKind.REGRESSION:
        yield f"print({call}[0].tolist())"
    elif model.labels is None:
        yield f"print({call}.argmax().item())"
    else:
        yield f"print({names}[{call}.argmax().item()])"
