"""Lightning's Trainer for a recipe on given machines, and how a step's pictures are shared among them."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.tuner.tuning import Tuner

from vitzoo.errors import TrainingError
from vitzoo.registry.recipes import Recipe
from vitzoo.train.callbacks import Average, Bar, History, MiddleCheckpoint, Patience, Terminated
from vitzoo.train.checkpoints import BEST, LAST, WholeFileIO
from vitzoo.train.goal import Goal

FSDP = "fsdp"


@dataclass(frozen=True)
class Machines:
    """What a run is computed on, as Lightning's Trainer takes it; strategy "fsdp" is FSDP2."""

    devices: int | str = 1
    strategy: str = "auto"
    accelerator: str = "auto"
    num_nodes: int = 1


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's advertisements, and its warnings about what is meant here."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for text in (
                "LeafSpec",
                "does not have many workers",
                "logging interval",
                "exists and is not empty",
                "dataloader is not resumable",
                "No positive samples",  # a label that no validation picture has is not in the mean
                "AMP with fp16 is not supported on CPU",  # refused below
            ):
                warnings.filterwarnings("ignore", f".*{text}")
            yield
    finally:
        log.setLevel(level)


def make_trainer(
    folder: Path,
    recipe: Recipe,
    machines: Machines,
    parts: int,
    goal: Goal,
    checkpoint_steps: int | None = None,
) -> lightning.Trainer:
    """A Trainer that saves into `folder`; an optimiser step takes `parts` batches.

    It saves after each epoch, and after every `checkpoint_steps` in the middle of one.

    Raises:
        TrainingError: devices that are not there, or a recipe that the strategy cannot do.
    """
    sharded = machines.strategy == FSDP
    if sharded and (recipe.ema_decay is not None or recipe.trainable == "lora"):
        raise TrainingError("strategy fsdp does not support ema_decay or lora; use ddp, or leave them out")
    strategy: Any = machines.strategy
    if sharded:
        if not isinstance(machines.devices, int):
            raise TrainingError(f"strategy fsdp needs the number of devices, found '{machines.devices}'")
        count = machines.devices * machines.num_nodes
        strategy = ModelParallelStrategy(count, 1, save_distributed_checkpoint=False)
    try:
        trainer = lightning.Trainer(
            accelerator=machines.accelerator,
            devices=machines.devices,
            num_nodes=machines.num_nodes,
            strategy=strategy,
            precision=recipe.precision,
            max_epochs=recipe.epochs,
            accumulate_grad_batches=parts,
            gradient_clip_val=recipe.clip_norm,
            deterministic=recipe.deterministic,
            callbacks=_callbacks(folder, recipe, goal, checkpoint_steps),
            logger=False,
            plugins=[WholeFileIO()],
            default_root_dir=folder,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the data's own sampler shares the pictures
        )
    except (MisconfigurationException, ValueError) as error:
        raise TrainingError(f"devices or strategy: {' '.join(str(error).split())}") from None
    if trainer.precision != recipe.precision:
        raise TrainingError(f"precision {recipe.precision} is not for this device; give precision {trainer.precision}")
    return trainer


def _callbacks(folder: Path, recipe: Recipe, goal: Goal, checkpoint_steps: int | None) -> list[Callback]:
    found: list[Callback] = [History(folder / "metrics.csv", goal), Terminated()]
    if sys.stderr.isatty():
        found.append(Bar())
    if recipe.ema_decay is not None:
        found.append(Average(recipe.ema_decay, recipe.ema_warmup))
    if recipe.early_stopping is not None:
        found.append(Patience(recipe, goal))
    saving: dict[str, Any] = {"dirpath": (folder / LAST).parent, "save_on_train_epoch_end": True}
    saving["enable_version_counter"] = False
    if checkpoint_steps is not None:
        found.append(MiddleCheckpoint(folder / LAST, checkpoint_steps))
    if recipe.keeps_best:
        measure = goal.measure
        found.append(ModelCheckpoint(filename=Path(BEST).stem, monitor=measure.name, mode=measure.mode, **saving))
    # The last of all, so that it holds the state of the others after this epoch.
    return [*found, ModelCheckpoint(filename=Path(LAST).stem, **saving)]


def parts_of_a_step(
    recipe: Recipe, machines: Machines, tuner: lightning.LightningModule, data: lightning.LightningDataModule
) -> int:
    """The recipe's `accumulate`; with "auto" Lightning's tuner finds out how many pictures fit at once.

    On the CPU, which does not say that its memory is full, all of them do.
    """
    if recipe.accumulate != "auto":
        return recipe.accumulate
    if machines.devices != 1 or machines.num_nodes != 1:
        raise TrainingError("accumulate auto is for one device; give a number")
    with TemporaryDirectory() as folder:
        trial = lightning.Trainer(
            accelerator=machines.accelerator,
            devices=1,
            precision=recipe.precision,
            max_epochs=1,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        fits = Tuner(trial).scale_batch_size(
            tuner, datamodule=data, init_val=min(8, recipe.batch_size), max_val=recipe.batch_size
        )
    assert fits is not None
    return next(parts for parts in range(1, recipe.batch_size + 1) if _divides(recipe, parts, fits))


def _divides(recipe: Recipe, parts: int, fits: int) -> bool:
    size, rest = divmod(recipe.batch_size, parts)
    pairs = bool(recipe.mixup or recipe.cutmix)
    return not rest and size <= fits and not (pairs and size % 2)


def batch_size(recipe: Recipe, pictures: int, world: int, parts: int) -> int:
    """Pictures that one device computes at once.

    Raises:
        TrainingError: a batch that cannot be shared evenly, or is larger than the data.
    """
    if pictures < recipe.batch_size:
        raise TrainingError(f"batch_size {recipe.batch_size} is more than the {pictures} training pictures; lower it")
    size, rest = divmod(recipe.batch_size, world * parts)
    if rest or not size:
        raise TrainingError(
            f"batch_size {recipe.batch_size} cannot be shared by {world} devices in {parts} parts each; "
            f"give a multiple of {world * parts}"
        )
    if size % 2 and (recipe.mixup or recipe.cutmix):
        raise TrainingError(f"mixup and cutmix mix pairs, and each device gets {size} pictures at once; make that even")
    return size
