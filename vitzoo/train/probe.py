"""What frozen features are worth: a linear classifier or the nearest neighbours on them, each picture seen once."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.pictures import WHOLE, Pictures
from vitzoo.evaluation.measure import Evaluation, matched, measure, opened, order
from vitzoo.evaluation.predict import outputs
from vitzoo.images.ranges import Form
from vitzoo.publish.dialect import ViT, create
from vitzoo.registry.recipes import Recipe
from vitzoo.spec import FinalNorm
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


def features(vit: ViT, pictures: Pictures, batch_size: int = 64, num_workers: int = 0) -> Features:
    """The features of pictures as for evaluation; each goes through the model once."""
    found = outputs(vit, pictures, lambda x: pooled(vit, x), "computing features", batch_size, num_workers)
    parts, targets = zip(*found, strict=True)
    return Features(torch.cat(parts), torch.cat(targets))


def cacheable(recipe: Recipe) -> bool:
    """Whether each epoch gives the head the same features: nothing below it is trained, dropped or augmented."""
    return recipe.trainable == "head" and not (augments(recipe) or recipe.drop_path_rate or recipe.patch_drop_rate)


class FeatureDataset(Dataset[tuple[Tensor, int]]):
    """Features by number or (epoch, number), whole batches at once."""

    def __init__(self, found: Features) -> None:
        self.found = found

    def __len__(self) -> int:
        return len(self.found.targets)

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> Features:
        chosen = torch.tensor([key[1] if isinstance(key, tuple) else key for key in keys])
        return Features(*(values[chosen] for values in self.found))

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, int]:
        x, target = self.__getitems__([key])
        return x[0], int(target)


class FeatureData(lightning.LightningDataModule):
    """The pictures of a run as features, computed here and once, where the model is; for :class:`HeadTuner`."""

    def __init__(self, data: PictureData, vit: ViT, batch_size: int = 64) -> None:
        super().__init__()
        self.recipe, self.batch_size = data.recipe, data.recipe.batch_size
        self.train_features = features(vit, data.train_pictures, batch_size, data.num_workers)
        self.val_features = features(vit, data.val_pictures, batch_size, data.num_workers)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        dataset = FeatureDataset(self.train_features)
        sampler = EpochSampler.of(self.trainer, len(dataset), self.recipe, self.batch_size)
        return DataLoader(dataset, self.batch_size, sampler=sampler, collate_fn=_as_it_is)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        return DataLoader(FeatureDataset(self.val_features), self.batch_size, collate_fn=_as_it_is)


class HeadTuner(FineTuner):
    """Trains the head on features; the model is whole and needs nothing further when it is done."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model.head(x)  # type: ignore[no-any-return]


def nearest_neighbours(
    model: str | os.PathLike[str] | ViT,
    train: str | os.PathLike[str] | Pictures,
    data: str | os.PathLike[str] | Pictures,
    *,
    k: int = 20,
    temperature: float = 0.07,
    split: str | None = None,
    columns: Columns = ANY,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    num_workers: int = 0,
    strict: bool = False,
) -> Evaluation:
    """Classify the pictures of `data` by the `k` most alike of `train`, the split "train" if it has one.

    No classifier is needed: the classes are those of `train`. A neighbour's vote is exp(cosine / temperature), as in
    DINO (https://arxiv.org/abs/2104.14294, section 4.1; facebookresearch/dino, eval_knn.py). The other arguments and
    the errors are those of `evaluate`.
    """
    vit = model if isinstance(model, ViT) else create(model, pretrained=True, device=device)
    _, known, _ = opened(train, ("train", WHOLE), Form.of(vit), strict, num_workers, columns)
    part, pictures, skipped = opened(data, order(split), Form.of(vit), strict, num_workers, columns)
    pictures = pictures.as_classes(matched(pictures, known.classes))

    def pre_logits(x: Tensor) -> Tensor:
        return vit.forward_head(vit.forward_features(x), pre_logits=True)

    seen = outputs(vit, known, pre_logits, "computing neighbours", batch_size, num_workers)
    examples, targets = map(torch.cat, zip(*seen, strict=True))
    queries = outputs(vit, pictures, pre_logits, "evaluating", batch_size, num_workers)
    scores = ((votes(examples, targets, x, len(known.classes), k, temperature), right) for x, right in queries)
    return measure(scores, pictures, known.classes, part, skipped)


def votes(known: Tensor, targets: Tensor, queries: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    """(queries, classes): the share of each class in the votes of the `k` nearest of `known`, by cosine."""
    near = F.normalize(queries, dim=1) @ F.normalize(known, dim=1).T
    similar, places = near.topk(min(k, len(known)), dim=1)
    weight = (similar / temperature).softmax(1)
    return torch.zeros(len(queries), classes).scatter_add_(1, targets[places], weight)


def _as_it_is(batch: Any) -> Any:
    return batch
