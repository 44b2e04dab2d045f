"""Fine-tuning from a pretrained name to a folder with a model that explains itself."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_only
from peft import PeftModel

from vitzoo.checkpoints.save import save
from vitzoo.data.columns import ANY, Columns
from vitzoo.data.pictures import Pictures
from vitzoo.data.saying import say
from vitzoo.errors import TrainingError
from vitzoo.evaluation.measure import evaluate
from vitzoo.files.atomic import replacing
from vitzoo.publish.dialect import ViT
from vitzoo.registry.recipes import Recipe, load_recipe
from vitzoo.registry.strict_yaml import read_yaml
from vitzoo.spec import TaskKind
from vitzoo.train.checkpoints import BEST, LAST, explained, part_of
from vitzoo.train.datamodule import PictureData
from vitzoo.train.ending import in_units, standardise, task_of
from vitzoo.train.identity import changes, contents, copies, digests
from vitzoo.train.loggers import begun, check
from vitzoo.train.lora import add_lora, merge, save_adapter
from vitzoo.train.module import FineTuner, ShardedFineTuner, make_optimizer, seed_step
from vitzoo.train.network import Model, build, fitted, keeps_head, loaded, made, origin
from vitzoo.train.probe import FeatureData, HeadTuner, cacheable, check_stores
from vitzoo.train.rate import searched
from vitzoo.train.report import write_report
from vitzoo.train.trainer import FSDP, Machines, batch_size, make_trainer, parts_of_a_step, quiet

RECIPE = "recipe.yaml"
WORDS = {
    TaskKind.CLASSES: "{} classes",
    TaskKind.ORDINAL: "{} grades",
    TaskKind.MULTI_LABEL: "{} labels",
    TaskKind.REGRESSION: "{} number(s)",
}


class Manner(NamedTuple):
    """How a run goes on and what it writes."""

    resume: bool
    checkpoint_steps: int | None
    loggers: tuple[str, ...]
    find_lr: bool


def finetune(
    model: Model,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    recipe: str | os.PathLike[str] | Recipe = "adamw_layer_decay",
    *,
    val: str | os.PathLike[str] | None = None,
    columns: Columns = ANY,
    fold: tuple[int, int] | None = None,
    resume: bool = False,
    devices: int | str = 1,
    strategy: str = "auto",
    accelerator: str = "auto",
    num_nodes: int = 1,
    strict_data: bool = False,
    num_workers: int | None = None,
    checkpoint_steps: int | None = None,
    loggers: Sequence[str] = ("tensorboard",),
    find_lr: bool = False,
    **overrides: Any,
) -> Path:
    """Train `model` on pictures in folders and write all results into `output`; returns the native file in it.

    Of several processes the first writes the results; the others return when the training ends.

    Args:
        model: what `vitzoo.create` takes, or a model at hand, which stays as it is.
        data, val: what `open_splits` takes; see `PictureData`.
        columns, fold: what folders or the columns of tables mean; (number, count) of `cross_validate`.
        output: a new folder: `model.safetensors`, `recipe.yaml`, `metrics.csv`, `tensorboard/`, `checkpoints/`, the
            report, `results.json`, and with LoRA `adapter/`. `vitzoo.create(output)` gives the model.
        recipe: a name of `list_recipes`, a YAML file, or a `Recipe`; `overrides` are fields of it.
        resume: go on from the last checkpoint in `output`, or begin; with `deterministic` to the same bits.
        devices, strategy, accelerator, num_nodes: as Lightning's Trainer takes them; strategy "fsdp" is FSDP2.
        strict_data, num_workers: a picture that cannot be read is an error; processes that load pictures.
        checkpoint_steps: save not only after each epoch but after every so many steps.
        loggers: tensorboard, wandb, mlflow; csv stands for `metrics.csv` alone, which each run has.
        find_lr: look for a learning rate first, by a hundred steps of rising ones; it replaces the recipe's.

    Raises:
        DataError, TrainingError: pictures that cannot be trained on; a run that cannot start, or that stopped.
        RegistryError, SpecError, WeightsError: an unknown recipe or model, values that do not go together.
    """
    check(loggers)
    folder, machines = Path(output), Machines(devices, strategy, accelerator, num_nodes)
    manner = Manner(resume, checkpoint_steps, tuple(loggers), find_lr)
    recipe = _as_found(_effective(recipe, overrides), folder, manner)
    reading: dict[str, Any] = {"val": val, "columns": columns, "strict": strict_data, "num_workers": num_workers}
    _train(model, PictureData(data, recipe, fold=fold, **reading), folder, recipe, machines, manner)
    return folder / "model.safetensors"


def _train(
    model: Model, pictures: PictureData, folder: Path, recipe: Recipe, machines: Machines, manner: Manner
) -> None:
    """The run itself; see `finetune`."""
    seed_step(recipe.seed)
    vit = loaded(model, recipe)
    check_stores(pictures, vit, recipe)
    kept = keeps_head(vit, recipe, pictures.classes, pictures.kind)
    if kept and vit.labels is not None:
        pictures.in_order(vit.labels)
    vit = fitted(vit, recipe, pictures.classes, pictures.kind)
    goal = pictures.adapt_to(vit).goal
    if kept and goal.kind is TaskKind.REGRESSION:
        standardise(vit, goal)
    start = origin(model, vit)
    seed_step(recipe.seed)  # to look at the pictures draws, too, unless it is known which can be read
    adapted = add_lora(vit, recipe, str(start["model"])) if recipe.trainable == "lora" else None
    kind = ShardedFineTuner if machines.strategy == FSDP else HeadTuner if cacheable(recipe) else FineTuner
    tuner = kind(vit, recipe, goal)
    make_optimizer(vit, recipe)  # Lightning makes it later, when the folder is there already
    with quiet():
        # The features of a whole step always fit.
        parts = 1 if kind is HeadTuner else parts_of_a_step(recipe, machines, tuner, pictures)
        trainer = make_trainer(folder, recipe, machines, parts, goal, manner.checkpoint_steps)
    size = batch_size(recipe, goal.pictures, trainer.world_size, parts)

    tuner.facts = {"model": start["model"], "weights": start["sha256"], "classes": list(pictures.classes)}
    if trainer.is_global_zero:
        tuner.facts |= _identity(pictures.parts)
    checkpoint = _claimed(folder, recipe, tuner.facts, manner.resume)
    with explained(folder), quiet():
        if checkpoint is None and trainer.is_global_zero:
            _say_head(vit.to(trainer.strategy.root_device), kept, pictures)
        seen = FeatureData(pictures, vit.to(trainer.strategy.root_device)) if kind is HeadTuner else pictures
        seen.batch_size = size
        if manner.find_lr and checkpoint is None:
            recipe = tuner.recipe = searched(tuner, seen, recipe, machines, parts, folder)
            _store(folder, recipe)
        with begun(manner.loggers, folder, recipe.model_dump(mode="json")) as trainer.loggers:
            trainer.fit(tuner, datamodule=seen, ckpt_path=checkpoint, weights_only=True)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # the first process goes on alone and waits for nobody
        if trainer.is_global_zero:
            vit = build(model, recipe, pictures.classes, goal.kind) if kind is ShardedFineTuner else vit
            trained = _ended(_best(vit, adapted, folder, recipe), pictures)
            trained.about = made(trained, recipe, start, pictures.path)
            save(trained.cpu().eval(), folder / "model.safetensors")
            write_report(folder, trained.to(trainer.strategy.root_device), pictures)


def _ended(vit: ViT, pictures: PictureData) -> ViT:
    """The trained network, whose head says what its numbers mean."""
    if pictures.kind is TaskKind.REGRESSION:
        in_units(vit, pictures.goal)
    vit.about = vit.about.replace(task=task_of(vit, pictures.goal, pictures.val_pictures, pictures.num_workers))
    return vit


def _say_head(vit: ViT, kept: bool, pictures: PictureData) -> None:
    """What the run starts from; the accuracy of a classifier that is kept."""
    what = WORDS[pictures.kind].format(len(pictures.classes))
    if not kept:
        return say(f"the classifier is new, for {what}")
    if pictures.kind is not TaskKind.CLASSES:
        return say(f"the classifier of the weights is kept, since the data has its {what}")
    found = evaluate(vit, pictures.val_pictures, split="val", num_workers=pictures.num_workers)
    say(
        f"the classifier of the weights is kept, since the data has its {what}: before training "
        f"{found.metrics['top1']:.2%} of {len(found.targets):,} val pictures are right (keep_head=false: a new one)"
    )
    return None


def _best(vit: ViT, adapted: PeftModel | None, folder: Path, recipe: Recipe) -> ViT:
    """With the weights that the recipe keeps; those of LoRA are written and merged."""
    _load(vit, folder / (BEST if recipe.keeps_best else LAST))
    if adapted is None:
        return vit
    if not (folder / "adapter").exists():  # a run that was killed here has written it whole
        save_adapter(adapted, folder / "adapter")
    return merge(adapted)


def _effective(recipe: str | os.PathLike[str] | Recipe, overrides: dict[str, Any]) -> Recipe:
    """The recipe with the overrides; what else they change is said."""
    plain = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    found = recipe.changed(**overrides) if isinstance(recipe, Recipe) else load_recipe(recipe, **overrides)
    if "warmup_epochs" not in overrides and found.warmup_epochs != plain.warmup_epochs:
        say(
            f"warmup_epochs is {found.warmup_epochs:g}: the recipe's {plain.warmup_epochs:g} of {plain.epochs} epochs "
            f"leave nothing of {found.epochs}"
        )
    return found


def _identity(parts: Mapping[str, Pictures]) -> dict[str, Any]:
    """What a run that goes on has to find again; pictures that stand twice are said."""
    read = {part: contents(pictures) for part, pictures in parts.items()}
    for line in copies(parts, read):
        say(line)
    return {f"{part} pictures": digests(pictures, read[part]) for part, pictures in parts.items()}


def _claimed(folder: Path, recipe: Recipe, facts: dict[str, Any], resume: bool) -> Path | None:
    """Take a new folder, or the folder of the run that goes on; returns the checkpoint to go on from."""
    _write_recipe(folder, recipe, resume)
    last = folder / LAST
    if not resume or not last.exists():
        return None
    before = part_of(last, "facts")
    if unknown := sorted(facts.keys() - before.keys()):
        missing = ", ".join(unknown)
        raise TrainingError(f"{last} is of another version of vitzoo, without {missing}; begin anew in another output")
    if changed := changes(before, facts):
        raise TrainingError(f"the run in {folder} cannot go on: {'; '.join(changed)}; give the same, or another output")
    return last


@rank_zero_only
def _write_recipe(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Write the recipe, or compare it with that of the run that goes on.

    The other processes come later, when the folder may hold more.
    """
    stored = folder / RECIPE
    if resume and stored.exists():
        before = Recipe.parse(read_yaml(stored), str(stored))
        deciding = [name for name in Recipe.model_fields if name not in ("about", "source")]
        if changed := [name for name in deciding if getattr(before, name) != getattr(recipe, name)]:
            was = ", ".join(f"{name} {getattr(before, name)} (now {getattr(recipe, name)})" for name in changed)
            raise TrainingError(f"the run in {folder} has another recipe: {was}; give the same, or another output")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TrainingError(f"{folder} exists and is not empty; name a new folder, or resume the run in it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _store(folder, recipe)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written: {error.strerror}; name another folder") from None


def _store(folder: Path, recipe: Recipe) -> None:
    with replacing(folder / RECIPE) as partial:
        partial.write_text(recipe.to_yaml(), encoding="utf-8")


def _as_found(recipe: Recipe, folder: Path, manner: Manner) -> Recipe:
    """With the rates that were found when the run that goes on began, where it looked for them."""
    if not (manner.find_lr and manner.resume and (folder / RECIPE).exists()):
        return recipe
    before = Recipe.parse(read_yaml(folder / RECIPE), str(folder / RECIPE))
    return recipe.changed(lr=before.lr, min_lr=before.min_lr, fallback_lr=before.fallback_lr)


def _load(vit: ViT, checkpoint: Path) -> None:
    """The weights that a checkpoint ends with: with an average of the weights, that average."""
    state = part_of(checkpoint, "state_dict")
    vit.load_state_dict({key.removeprefix("model."): value for key, value in state.items()})
