"""What frozen features are worth: a picture is of the class of those that are most alike."""

import os

import torch
import torch.nn.functional as F
from torch import Tensor

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.pictures import WHOLE, Pictures
from vitzoo.evaluation.measure import Evaluation, matched, measure, opened, order
from vitzoo.evaluation.predict import outputs
from vitzoo.images.ranges import Form
from vitzoo.publish.dialect import ViT, create


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
