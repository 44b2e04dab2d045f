"""Pictures for a run: which are trained on, which are validated on, and how each becomes a tensor.

What a picture looks like in an epoch follows from (seed, epoch, its number) alone: not from the workers, nor from what
was drawn before. A run that goes on sees what an unbroken one would have seen.
"""

import os
from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.data import suggested_max_num_workers
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.dataset import Item, PictureDataset
from vitzoo.data.natural import natural
from vitzoo.data.parts import lacking, parts_of
from vitzoo.data.pictures import Pictures
from vitzoo.data.places import Skipped
from vitzoo.data.readable import readable
from vitzoo.data.saying import Remark, say, say_reading, taken_for
from vitzoo.data.split import few, one_fold, stratified
from vitzoo.data.truth import CLASSLESS, check_joint, kind_of, names_of, with_truth
from vitzoo.embedding.splits import open_data
from vitzoo.errors import DataError
from vitzoo.images.ranges import Form
from vitzoo.images.transform import Prepared, preprocess
from vitzoo.registry.recipes import Recipe
from vitzoo.spec import TaskKind
from vitzoo.train.augment import training_transform
from vitzoo.train.goal import Goal

MOST_WORKERS = 8
MOST_NAMES = 6


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, number) for one of `world` processes: another order each epoch, whole optimiser steps of `step` pictures.

    The pictures that would fill a part of a step are left out, others each epoch. All processes together see what one
    process would see, step for step; `together` neighbours of the order, which may be mixed, go to the same process.
    """

    def __init__(
        self,
        count: int,
        step: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        together: int = 1,
        shares: Tensor | None = None,
    ) -> None:
        self.shares = shares
        """How often each picture is drawn, (count,); each once if None."""
        self.count, self.seed, self.rank, self.world, self.together = count, seed, rank, world, together
        self.whole = count // step * step or count
        self.epoch = 0
        self.seen = 0
        """Pictures of the next epoch that this process has seen already."""

    @classmethod
    def of(
        cls,
        trainer: lightning.Trainer | None,
        count: int,
        recipe: Recipe,
        batch_size: int,
        shares: Tensor | None = None,
    ) -> "EpochSampler":
        """For one of a Trainer's processes, at the Trainer's epoch and batch."""
        world, rank = (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)
        together = 2 if recipe.mixup or recipe.cutmix else 1
        sampler = cls(count, recipe.batch_size, recipe.seed, rank, world, together, shares)
        # Lightning sets the epoch too, but only after the workers of a run that goes on have begun to load; and its
        # current_epoch is then still that of the checkpoint.
        if trainer is not None:
            epochs: Any = trainer.fit_loop.epoch_progress.current
            batches = trainer.fit_loop.epoch_loop.batch_progress
            sampler.set_epoch(epochs.processed)
            sampler.seen = 0 if batches.is_last_batch else batches.current.ready * batch_size
        return sampler

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._mine(list(range(self.whole))))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first, self.seen = self.seen, 0
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.shares is None:
            order = torch.randperm(self.count, generator=generator).tolist()
        else:
            order = torch.multinomial(self.shares, self.whole, replacement=True, generator=generator).tolist()
        return ((self.epoch, i) for i in self._mine(order[: self.whole])[first:])

    def _mine(self, order: list[int]) -> list[int]:
        """What is dealt to this process, neighbours together."""
        hands = [order[i : i + self.together] for i in range(0, len(order), self.together)]
        return [i for hand in hands[self.rank :: self.world] for i in hand]


class PictureData(lightning.LightningDataModule):
    """The pictures at `path` under a recipe: their classes, and after `adapt_to` the pictures that a model can read.

    Validation pictures are those at `val`, else the split "val" of `path`, else `val_fraction` of each class. A split
    "test" is for the evaluation at the end alone.

    Args:
        path, val: what `open_splits` takes, or a store of vectors, of which no picture is opened.
        columns: what folders or the columns of tables mean, where it cannot be found out.
        fold: (number, count): validate on that one of so many parts of the pictures, and train on the others.
        strict: a picture that cannot be read is an error; else it is left out and listed in `skipped`.
        num_workers: processes that load pictures; one for each core, eight at most, if not given.

    Raises:
        DataError: see `parts_of`; also validation pictures beside folds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        recipe: Recipe,
        *,
        val: str | os.PathLike[str] | None = None,
        columns: Columns = ANY,
        fold: tuple[int, int] | None = None,
        strict: bool = False,
        num_workers: int | None = None,
    ) -> None:
        super().__init__()
        self.path, self.recipe = str(path), recipe
        self.sources = [source for source in (path, val) if source is not None]
        self.num_workers = min(suggested_max_num_workers(1), MOST_WORKERS) if num_workers is None else num_workers
        self.strict = strict
        self._train, self._val, self._test, self._aside = parts_of(path, val, columns, recipe.task, open_data)
        self.kind = recipe.task or kind_of(self._train)
        if recipe.task is None and self.kind is TaskKind.CLASSES:
            check_joint(self._train)
        self.classes, self._fold = self._names(), fold
        if fold is not None and self._val is not None:
            raise DataError(
                f"{self._val.where}: folds validate on parts of the training pictures, and there are others; give "
                "the training pictures alone"
            )
        if fold is not None and self._test is not None:
            self._aside += tuple(Skipped(name, "a test picture, which folds leave aside") for name in self._test.names)
            self._test = None
        self.batch_size = recipe.batch_size
        """Pictures of one forward pass on one device: a part of the recipe's, which is for a step on all devices."""

    def _names(self) -> tuple[str, ...]:
        """The outputs of the model: classes, grades from the lowest on, labels, or what numbers are called."""
        names, grades = names_of(self._train, self.kind), self.recipe.grades
        if self.kind is TaskKind.ORDINAL and grades is not None:
            if sorted(grades) != sorted(names):
                raise DataError(
                    f"{self._train.where}: grades are {', '.join(grades)}, and the classes are {', '.join(names)}; "
                    "name each class once"
                )
            return grades
        return tuple(sorted(names, key=natural)) if self.kind is TaskKind.ORDINAL else names

    @property
    def counts(self) -> tuple[int, ...]:
        """Training pictures of each class or label."""
        return self.goal.counts

    def in_order(self, classes: tuple[str, ...]) -> None:
        """Number the classes or labels, which are the same, as `classes` has them."""
        self.classes = classes

    def adapt_to(self, model: Prepared) -> "PictureData":
        """Find the pictures that this model can read, divide them, and prepare them: its size, its weights' colours.

        Raises:
            DataError: a class without a picture of the model's channels, or with too few to be split.
        """
        recipe, form = self.recipe, Form.of(model)
        self.skipped: tuple[Skipped, ...] = self._aside
        self.remarks: tuple[Remark, ...] = ()
        train = self._readable(self._train, form)
        if self._fold is not None:
            train, self.val_pictures = one_fold(train, *self._fold, recipe.seed)
        elif self._val is None:
            train, self.val_pictures = stratified(train, recipe.val_fraction, recipe.seed)
        else:
            self.val_pictures = self._readable(self._val, form)
        self.train_pictures = few(train, recipe.max_per_class, recipe.seed)
        self.test_pictures = None if self._test is None else self._readable(self._test, form)
        self._say()
        self.train_pictures = with_truth(self.train_pictures, self.kind, self.classes)
        self.val_pictures = with_truth(self.val_pictures, self.kind, self.classes)
        if self.test_pictures is not None:
            self.test_pictures = with_truth(self.test_pictures, self.kind, self.classes)
        self.goal = Goal.of(self.train_pictures, self.kind)
        transform = training_transform(model, recipe)
        self.train_dataset = PictureDataset(self.train_pictures, transform, form, recipe.seed)
        self.val_dataset = PictureDataset(self.val_pictures, preprocess(model), form)
        return self

    def final(self) -> tuple[str, Pictures]:
        """The name of the split that the result is evaluated on, and its pictures."""
        return ("val", self.val_pictures) if self.test_pictures is None else ("test", self.test_pictures)

    def train_dataloader(self) -> DataLoader[Item]:
        shares = self.goal.shares(self.train_pictures, self.recipe)
        sampler = EpochSampler.of(self.trainer, len(self.train_dataset), self.recipe, self.batch_size, shares)
        return self._loader(self.train_dataset, sampler)

    def val_dataloader(self) -> DataLoader[Item]:
        return self._loader(self.val_dataset, None)

    def _loader(self, dataset: PictureDataset, sampler: EpochSampler | None) -> DataLoader[Item]:
        return DataLoader(
            dataset,
            self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    @property
    def parts(self) -> dict[str, Pictures]:
        """The pictures of each part that there is."""
        parts = {"train": self.train_pictures, "val": self.val_pictures, "test": self.test_pictures}
        return {part: pictures for part, pictures in parts.items() if pictures is not None}

    @rank_zero_only
    def _say(self) -> None:
        """What the pictures were taken for, before the first step."""
        if self.kind in CLASSLESS:
            counted = ", ".join(f"{part} {len(pictures):,}" for part, pictures in self.parts.items())
            what = "labels" if self.kind is TaskKind.MULTI_LABEL else "numbers"
            names = ", ".join(self.classes[:MOST_NAMES]) + (", ..." if len(self.classes) > MOST_NAMES else "")
            say(f"reading {self.path}: {len(self.classes)} {what} ({names}) {self._train.understood}: {counted}")
        else:
            say(taken_for(self.parts))
            for part, pictures in self.parts.items():
                if missing := lacking(pictures):
                    say(f"reading {pictures.where}: no {part} pictures of {', '.join(missing[:8])}")
        if self.kind is TaskKind.ORDINAL:
            say(f"the grades, from the lowest: {', '.join(self.classes)}")
        say_reading(self.path, self.skipped, self.remarks)

    def _readable(self, pictures: Pictures, form: Form) -> Pictures:
        if pictures.seen is not None:
            self.skipped = tuple(dict.fromkeys((*self.skipped, *pictures.left_out)))
            return pictures
        kept, skipped, remarks = readable(pictures, form, strict=self.strict, num_workers=self.num_workers)
        if pictures is self._train and len(lost := np.setdiff1d(pictures.targets, kept.targets)):
            first = pictures.names[int(np.argmax(pictures.targets == lost[0]))]
            raise DataError(
                f"{pictures.where}: no picture of class '{self.classes[lost[0]]}' can be read; the first: "
                f"{dict(skipped)[first]}"
            )
        self.skipped = tuple(dict.fromkeys((*self.skipped, *pictures.left_out, *skipped)))
        self.remarks += remarks
        return kept
