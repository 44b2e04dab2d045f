"""How vectors were made: what has to be the same for two vectors to be compared."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import torch

from vitzoo.embedding.features import Extractor
from vitzoo.engines.exported import weights_digest
from vitzoo.publish.dialect import ViT
from vitzoo.spec import About, Size, ViTSpec
from vitzoo.spec.base import Frozen
from vitzoo.version import __version__

MANIFEST = "_vitzoo.json"
"""The file of a store that says how its vectors were made; a folder that has it is a store."""
DTYPES = ("float32", "float16")
"""Of the numbers that are kept; Parquet has no bfloat16."""


class Recipe(Frozen):
    """How the vectors of a store were made; it stands in the footer of every file of it."""

    model: str
    """What `vitzoo.create` takes."""
    weights: str
    """The sha256 of the tensors, under vitzoo's own names."""
    features: str
    blocks: tuple[int, ...] = ()
    shape: tuple[int, ...]
    """Of one vector before it is laid flat: (length,), or (rows, columns, length) of patches."""
    img_size: Size
    """(height, width) that pictures are prepared at."""
    normalize: bool = False
    dtype: str = "float32"
    """Of the numbers that are kept."""
    model_dtype: str = "float32"
    """That the model computes with."""
    batch_size: int | None = None
    """Pictures in each forward pass, where it is the same for all of them; then a vector's bits hang on no other."""
    spec: ViTSpec
    about: About
    versions: Mapping[str, str] = {}

    @property
    def length(self) -> int:
        """Numbers of a vector."""
        return torch.Size(self.shape).numel()

    def differences(self, other: "Recipe") -> list[str]:
        """What makes vectors of the two no vectors of one kind, in words: field, here, there."""
        mine, theirs = _compared(self), _compared(other)
        return [f"{name} {mine[name]} here and {theirs[name]} there" for name in mine if mine[name] != theirs[name]]

    def not_of(self, vit: ViT) -> list[str]:
        """What makes a model another one than that of the vectors, in words: field, here, there."""
        return self.model_copy(update=_asked_of(vit)).differences(self)


def _asked_of(vit: ViT) -> dict[str, Any]:
    """What a model says of itself that vectors hang on."""
    size = vit.preprocessing.img_size or vit.spec.img_size
    return {"weights": weights_digest(vit), "img_size": size, "spec": vit.spec, "about": vit.about}


class Made(NamedTuple):
    """How vectors are asked for, beside the model and its features."""

    normalize: bool = False
    dtype: str = "float32"
    batch_size: int | None = None


def recipe_of(vit: ViT, model: str, extractor: Extractor, made: Made) -> Recipe:
    """The recipe of a model's vectors. A picture of zeros goes through the model once, to see their shape."""
    like, asked = next(vit.parameters()), _asked_of(vit)
    size = asked["img_size"]
    with torch.inference_mode():
        found = extractor.function(torch.zeros(1, vit.spec.in_chans, *size, device=like.device, dtype=like.dtype))
    return Recipe(
        model=model,
        features=extractor.name.value,
        blocks=extractor.blocks,
        shape=tuple(found.shape[1:]),
        model_dtype=str(like.dtype).removeprefix("torch."),
        versions={"vitzoo": __version__, **{name: version(name) for name in ("torch", "pillow", "numpy", "pyarrow")}},
        **asked,
        **made._asdict(),
    )


def _compared(recipe: Recipe) -> dict[str, Any]:
    """What a number of a vector hangs on. Versions and names of the model do not count: its tensors do."""
    found = {name: getattr(recipe, name) for name in Recipe.model_fields if name not in ("model", "about", "versions")}
    architecture = {f"architecture's {name}": value for name, value in found.pop("spec")}
    prepared = {f"preprocessing's {name}": value for name, value in recipe.about.preprocessing}
    return dict(_short(found | architecture | prepared))


def _short(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        yield name, f"sha256:{value[:16]}" if name == "weights" else value
