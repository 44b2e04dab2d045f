"""timm's own model of a folder that it reads."""

from copy import deepcopy
from pathlib import Path

from torch import Tensor

from vitzoo.extras import needs
from vitzoo.layouts.peer import Outputs, Peer, answer
from vitzoo.spec import ViTSpec


def peer(folder: Path, spec: ViTSpec) -> Peer:
    """What `timm.create_model` builds from the folder.

    Raises:
        MissingExtra: timm is not installed.
    """
    with needs("timm"):
        import timm

    native = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    def run(x: Tensor) -> Outputs:
        model = deepcopy(native)  # a table that was resampled once must not be resampled again
        model.set_input_size(tuple(x.shape[-2:]))
        tokens = model.forward_features(x)
        pooled = model.forward_head(tokens, pre_logits=True)
        return {"tokens": tokens, "pooled": pooled, **answer(model, tokens, spec)}

    return Peer(f"timm {timm.__version__}, {type(native).__name__}", run)
