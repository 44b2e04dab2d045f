"""A model on pictures, batch by batch, with nothing drawn and nothing kept for a backward pass."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vitzoo.data.dataset import PictureDataset
from vitzoo.data.pictures import Pictures
from vitzoo.data.progress import tracked
from vitzoo.images.ranges import Form
from vitzoo.images.transform import preprocess
from vitzoo.publish.dialect import ViT


@torch.inference_mode()
def outputs(
    vit: ViT,
    pictures: Pictures,
    function: Callable[[Tensor], Tensor],
    title: str,
    batch_size: int = 64,
    num_workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(what `function` makes of a batch, its classes), fp32 on the CPU; each picture once, in order, as for evaluation.

    The batch is where the model is, and of its type; the model is in evaluation mode while it is used.
    """
    like = next(vit.parameters())
    dataset = PictureDataset(pictures, preprocess(vit), Form.of(vit))
    loader = DataLoader(dataset, batch_size, num_workers=num_workers, pin_memory=like.is_cuda)
    was_training = vit.training
    vit.eval()
    try:
        for x, targets in tracked(loader, title):
            yield function(x.to(like.device, like.dtype)).float().cpu(), targets
    finally:
        vit.train(was_training)
