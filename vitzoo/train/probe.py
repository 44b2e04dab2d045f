"""A classifier trained on frozen features that are computed once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitzoo.data.pictures import Pictures
from vitzoo.data.seen import Seen
from vitzoo.embedding.splits import check_made_by, is_store
from vitzoo.errors import Argument, TrainingError
from vitzoo.evaluation.given import pooled as given_pooled
from vitzoo.evaluation.predict import Reading, outputs
from vitzoo.publish.dialect import ViT
from vitzoo.registry.recipes import Recipe
from vitzoo.spec import FinalNorm, Head
from vitzoo.train.augment import augments
from vitzoo.train.datamodule import EpochSampler, PictureData
from vitzoo.train.module import FineTuner


class Features(NamedTuple):
    """What the head of a model is given for each picture, and the picture's class."""

    pooled: Tensor
    """(pictures, pooled_dim); (pictures, 2, hidden_dim) for a distilled head"""
    targets: Tensor
    """(pictures,)"""


def pooled(vit: ViT, x: Tensor) -> Tensor:
    """(batch, in_chans, height, width) -> what the head is given: `vit.head(pooled(vit, x))` is `vit(x)`."""
    tokens: Tensor = vit.pool(vit.forward_features(x))
    return vit.norm(tokens) if vit.spec.final_norm is FinalNorm.POOLED else tokens


def given(vit: ViT, seen: Seen) -> Tensor:
    """The same of a store's vectors.

    Raises:
        TrainingError: a head that has a layer before the last; the store has what comes after it.
    """
    if vit.spec.head is not Head.LINEAR:
        raise TrainingError(f"a head '{vit.spec.head}' is not trained on vectors; give the pictures")
    return given_pooled(seen)


def check_stores(data: PictureData, vit: ViT, recipe: Recipe) -> None:
    """Refuse stores of vectors that another model made, or whose pictures the recipe needs.

    Raises:
        SpecError: another model.
        TrainingError: the recipe trains more than the head, or changes what the head is given.
    """
    for source in filter(is_store, data.sources):
        if not cacheable(recipe):
            raise TrainingError(
                f"{source} holds vectors, and the recipe needs pictures: it trains '{recipe.trainable}' or changes "
                "pictures from epoch to epoch. Give ",
                Argument("recipe", "linear_probe"),
                ", or the pictures",
            )
        check_made_by(source, vit)


def features(vit: ViT, pictures: Pictures, batch_size: int = 64, num_workers: int = 0) -> Features:
    """The features of pictures as for evaluation; each goes through the model once."""
    reading = Reading(batch_size, num_workers)
    batches = outputs(
        vit, pictures, lambda x: pooled(vit, x), "computing features", reading, of_seen=lambda seen: given(vit, seen)
    )
    found = torch.cat([batch.values for batch in batches])
    return Features(found, torch.from_numpy(pictures.targets))


def cacheable(recipe: Recipe) -> bool:
    """Whether each epoch gives the head the same features: nothing below it is trained, dropped or augmented."""
    return recipe.trainable == "head" and not (augments(recipe) or recipe.drop_path_rate or recipe.patch_drop_rate)


class FeatureDataset(Dataset[tuple[Tensor, ...]]):
    """Features by number or (epoch, number), whole batches at once."""

    def __init__(self, found: Features, weights: Tensor | None = None) -> None:
        self.found = found if weights is None else (*found, weights)

    def __len__(self) -> int:
        return len(self.found[0])

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> tuple[Tensor, ...]:
        chosen = torch.tensor([key[1] if isinstance(key, tuple) else key for key in keys])
        return tuple(values[chosen] for values in self.found)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, ...]:
        return tuple(values[0] for values in self.__getitems__([key]))


class FeatureData(lightning.LightningDataModule):
    """The pictures of a run as features, computed here and once, where the model is; for :class:`HeadTuner`."""

    def __init__(self, data: PictureData, vit: ViT, batch_size: int = 64) -> None:
        super().__init__()
        self.recipe, self.batch_size = data.recipe, data.recipe.batch_size
        weights = data.train_pictures.weights
        self.weights = None if weights is None else torch.from_numpy(weights).float()
        self.shares = data.goal.shares(data.train_pictures, data.recipe)
        self.train_features = features(vit, data.train_pictures, batch_size, data.num_workers)
        self.val_features = features(vit, data.val_pictures, batch_size, data.num_workers)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        dataset = FeatureDataset(self.train_features, self.weights)
        sampler = EpochSampler.of(self.trainer, len(dataset), self.recipe, self.batch_size, self.shares)
        return DataLoader(dataset, self.batch_size, sampler=sampler, collate_fn=_as_it_is)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(FeatureDataset(self.val_features), self.batch_size, collate_fn=_as_it_is)


class HeadTuner(FineTuner):
    """Trains the head on features; the model is whole and needs nothing further when it is done."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model.head(x)  # type: ignore[no-any-return]


def _as_it_is(batch: Any) -> Any:
    return batch
