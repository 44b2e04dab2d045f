"""From a name, a file or a model at hand to the network that a recipe trains, and back to a file."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from timm.layers import PatchDropout

from vitzoo.checkpoints.save import save
from vitzoo.engines.exported import exported
from vitzoo.errors import TrainingError, public
from vitzoo.publish.dialect import ViT, create
from vitzoo.registry.recipes import Recipe
from vitzoo.registry.reference import Name, parse
from vitzoo.sources.cache import sha256_of
from vitzoo.spec import About, Origin, Pool, RelPos, TaskKind
from vitzoo.train.groups import freeze
from vitzoo.version import __version__

Model = str | Path | ViT
UNORDERED = (TaskKind.CLASSES, TaskKind.MULTI_LABEL)
"""Tasks whose outputs may be in any order."""


def build(model: Model, recipe: Recipe, classes: tuple[str, ...], kind: TaskKind = TaskKind.CLASSES) -> ViT:
    """The network that a run trains: `loaded` and `fitted`."""
    return fitted(loaded(model, recipe), recipe, classes, kind)


def loaded(model: Model, recipe: Recipe) -> ViT:
    """The network that a run starts from, at the recipe's size, channels and rates; a model at hand is copied.

    Raises:
        SpecError: an exported file, which has nothing to train.
        TrainingError: a recipe for random weights and a model that has weights, or one that gives a class a token.
    """
    asked = {"img_size": recipe.img_size, "in_chans": recipe.in_chans, "drop_path_rate": recipe.drop_path_rate}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if isinstance(model, ViT):
        with TemporaryDirectory() as folder:
            vit = create(save(model, Path(folder) / "model.safetensors"), **changes)
    elif not recipe.pretrained and not isinstance(parse(model), Name):
        raise TrainingError(
            f"the recipe starts from random weights, but {parse(model)} has weights; name a model of the registry"
        )
    else:
        if (graph := exported(parse(model), {})) is not None:
            graph.state_dict()  # says that it has none
        vit = create(model, pretrained=recipe.pretrained, generator=recipe.seed, **changes)
    values = {"white": recipe.white, "black": recipe.black}
    vit.preprocessing = vit.preprocessing.replace(**{name: v for name, v in values.items() if v is not None})
    if vit.spec.pool is Pool.NONE:
        raise TrainingError(f"{vit.origin or model} has pool 'none': a class for each token; choose another model")
    return vit


def fitted(vit: ViT, recipe: Recipe, classes: tuple[str, ...], kind: TaskKind = TaskKind.CLASSES) -> ViT:
    """The same network with a classifier for `classes` and what the recipe trains of it; not yet with LoRA.

    The classifier starts at zero (ViT, section 3.2) unless it is kept, in its own order.

    Raises:
        TrainingError: a classifier that is to be kept has other classes, or what the recipe asks for and the
            architecture cannot do.
    """
    if not keeps_head(vit, recipe, classes, kind):
        vit.reset_classifier(len(classes))
        vit.labels = classes
    if recipe.patch_drop_rate:
        if vit.spec.rope is not None or vit.spec.rel_pos is not RelPos.NONE:
            raise TrainingError("patch_drop_rate needs positions that are added once: this model has rope or rel_pos")
        vit.patch_drop = PatchDropout(recipe.patch_drop_rate, num_prefix_tokens=vit.num_prefix_tokens)
    vit.set_grad_checkpointing(recipe.grad_checkpointing)
    freeze(vit, recipe.trainable)
    if recipe.compile:
        vit.compile()
    return vit.train()


def keeps_head(vit: ViT, recipe: Recipe, classes: tuple[str, ...], kind: TaskKind) -> bool:
    """Whether the run goes on with the classifier of the weights.

    Raises:
        TrainingError: it has to, and has other classes than the data.
    """
    same = recipe.pretrained and vit.num_classes > 0 and sorted(vit.labels or ()) == sorted(classes)
    same = same and vit.about.kind is kind and (vit.labels == classes or kind in UNORDERED)
    if recipe.keep_head and not same:
        raise TrainingError(
            f"keep_head needs the classes of {vit.origin or 'the model'} in the data: expected {_short(vit.labels)}, "
            f"found {_short(classes)}; leave keep_head out"
        )
    return same and recipe.keep_head is not False


def origin(model: Model, vit: ViT) -> dict[str, Any]:
    """Where the weights that a run starts from come from; digests of the files they were read from."""
    if isinstance(model, ViT):
        return {"model": "a model at hand", "origin": vit.origin, "sha256": {}}
    if vit.load_report is None:
        return {"model": public(str(model)), "origin": None, "sha256": {}}
    place = Path(vit.load_report.source)
    files = sorted(file for file in place.iterdir() if file.is_file()) if place.is_dir() else [place]
    return {"model": public(str(model)), "origin": vit.origin, "sha256": {file.name: sha256_of(file) for file in files}}


def made(vit: ViT, recipe: Recipe, start: Mapping[str, Any], data: str) -> About:
    """The record of a model after its training: what it was trained from, on and how."""
    training = {
        "vitzoo": __version__,
        "recipe": recipe.model_dump(mode="json"),
        "data": data,
        "start": dict(start) if recipe.pretrained else None,
    }
    if not recipe.pretrained:
        scratch = Origin(note=f"{start['model']} trained from scratch")
        return vit.about.replace(origin=scratch, derived_from=None, training=training)
    before = vit.about.origin or vit.about.derived_from or Origin.of(start["model"])
    return vit.about.replace(origin=None, derived_from=before, training=training)


def _short(labels: tuple[str, ...] | None) -> str:
    return "none" if labels is None else ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
