"""The vectors of a store as each way to evaluate takes them; a picture that is asked for more is an error."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitzoo.data.seen import Seen
from vitzoo.embedding.features import Features
from vitzoo.errors import SpecError
from vitzoo.publish.dialect import ViT


def as_they_are(seen: Seen) -> Tensor:
    """(pictures, length)"""
    return torch.from_numpy(seen.values).float().flatten(1)


def of_length_one(seen: Seen) -> Tensor:
    """(pictures, length)"""
    return F.normalize(as_they_are(seen), dim=1)


def in_parts(seen: Seen) -> Tensor:
    """(pictures, parts, length): of `cls_mean` of blocks DINOv2's, their class tokens and the mean of the last one.

    Of `mean` of blocks each is a part; anything else is one part.
    """
    whole = as_they_are(seen)
    if seen.features == Features.MEAN and seen.blocks:
        return whole.reshape(len(whole), seen.blocks, -1)
    if seen.features != Features.CLS_MEAN or not seen.blocks:
        return whole[:, None]
    parts = whole.reshape(len(whole), seen.blocks, 2, -1)
    return torch.cat([parts[:, :, 0], parts[:, -1:, 1]], 1)


def in_tokens(seen: Seen) -> Tensor:
    """(pictures, patches, length)

    Raises:
        SpecError: vectors of whole pictures.
    """
    if seen.features != Features.PATCHES:
        raise _lacking("an attentive probe attends to patches", seen, Features.PATCHES)
    return torch.from_numpy(seen.values).float().flatten(1, 2)


def pooled(seen: Seen) -> Tensor:
    """(pictures, pooled_dim): what the last layer of the head is given.

    Raises:
        SpecError: other features.
    """
    if seen.features != Features.POOLED or seen.blocks or seen.normalized:
        raise _lacking("a classifier is given pooled features as they are", seen, Features.POOLED)
    return as_they_are(seen)


@torch.inference_mode()
def logits(vit: ViT, seen: Seen) -> Tensor:
    """(pictures, num_classes): what the model gives for the pictures.

    Raises:
        SpecError: vectors of other features.
    """
    like = next(vit.head.parameters())
    return vit.head.fc(pooled(seen).to(like.device, like.dtype)).float().cpu()  # type: ignore[operator, no-any-return]


def _lacking(what: str, seen: Seen, needed: Features) -> SpecError:
    held = f"{seen.features}{f' of {seen.blocks} blocks' if seen.blocks else ''}{' of length 1' * seen.normalized}"
    return SpecError(
        f"{what}, and the store holds {held}; make one of them: vitzoo embed MODEL PICTURES STORE --features {needed}"
    )
