"""transformers' own model of a folder that it reads: its tower for pictures, whatever stands around it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitzoo.errors import WeightsError
from vitzoo.extras import needs
from vitzoo.files.tensor_file import some
from vitzoo.layouts.huggingface.config import RESAMPLING, Kind, model_kind
from vitzoo.layouts.peer import Outputs, Peer
from vitzoo.spec import FinalNorm, Pool, PosEmbed, ViTSpec

ANY_SIZE = "interpolate_pos_encoding"
"""The option of a class that resamples its table where it is asked to."""
NORMS_POOLED_ALONE = frozenset({"clip_vision_model"})
"""Kinds whose final norm is never applied to the tokens, whatever the spec says."""
AVERAGING = frozenset({"beit"})
"""Kinds whose own pooler can average; where another class's tokens are averaged here, it pools otherwise or not."""
UNMASKED: dict[str, Callable[[int], dict[str, Any]]] = {
    "vit_mae": lambda patches: {"noise": torch.arange(patches).float()[None]}
}
"""What keeps a class that shuffles the patches from doing so, in numbers for each of them."""

Inputs = dict[str, Any]


def peer(folder: Path, spec: ViTSpec) -> Peer:
    """The class that config.json names, with the tensors of the folder, in fp32 and without masks.

    Raises:
        MissingExtra: transformers is not installed.
        WeightsError: the class does not fit the tensors of the folder.
    """
    with needs("transformers"):
        import transformers

    kind, about, _ = model_kind(json.loads((folder / "config.json").read_bytes()))
    model = _loaded(transformers, folder, about).eval()
    inner = model.base_model if type(model.base_model).__name__ in about.tasks else model
    encoder = getattr(model, "vision_model", inner)
    own = f"transformers {transformers.__version__}, {type(model).__name__}"
    classifies = about.tasks[type(model).__name__].counted == "id2label"
    pools = spec.pool is not Pool.AVG or kind in AVERAGING

    def run(x: Tensor) -> Outputs:
        inputs = _inputs(x, spec, kind, about)
        out, given = encoder(**_taken(encoder.forward, inputs)), {}
        if kind not in NORMS_POOLED_ALONE or spec.final_norm is FinalNorm.POOLED:
            given["tokens"] = out.last_hidden_state
        if classifies:  # without classes it gives what they would be made of
            return {**given, "logits" if spec.num_classes else "pooled": model(**_taken(model.forward, inputs)).logits}
        if pools and out.get("pooler_output") is not None:
            given["pooled"] = out.pooler_output
        return given | ({"embedding": _projected(model, inputs)} if spec.out_dim else {})

    asked = ANY_SIZE in signature(encoder.forward).parameters
    square = spec.pos_embed is PosEmbed.NONE or spec.grid[0] == spec.grid[1]
    return Peer(own, run, any_size=square and (asked or kind in RESAMPLING))


def _loaded(transformers: Any, folder: Path, about: Kind) -> Any:
    """The model of the folder. The pooler of an encoder is a layer of its own, and is left out where the file has none.

    It would be random. transformers would also compute in the file's own precision, and vitzoo does in fp32.
    """
    config = transformers.AutoConfig.from_pretrained(folder)
    names = [*(config.architectures or ())[:1], *about.tasks]  # AIMv2's authors have classes that never were there
    loader = next(getattr(transformers, name) for name in names if hasattr(transformers, name))
    if not isinstance(config, loader.config_class):
        config = loader.config_class.from_pretrained(folder)
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0
    options: dict[str, Any] = {"config": config, "dtype": torch.float32, "output_loading_info": True}
    with _quiet(transformers.logging):
        model, report = loader.from_pretrained(folder, **options)
        if any(key.startswith("pooler.") for key in report["missing_keys"]):
            model, report = loader.from_pretrained(folder, add_pooling_layer=False, **options)
    if wrong := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        name = type(model).__name__
        raise WeightsError(
            f"transformers' {name} does not fit {folder}: {some(wrong, 4)}; compare with another checkpoint instead"
        )
    return model


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Without transformers' progress bar, and its notice of a pooler that it drew: what is missing is known here."""
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _inputs(x: Tensor, spec: ViTSpec, kind: str, about: Kind) -> Inputs:
    """What the class takes for pictures (batch, channels, height, width)."""
    rows, cols = (side // patch for side, patch in zip(x.shape[-2:], spec.patch_size, strict=True))
    more: Inputs = {} if x.shape[-2:] == spec.img_size else {ANY_SIZE: True}
    if kind in UNMASKED:
        more |= {name: value.expand(len(x), -1) for name, value in UNMASKED[kind](rows * cols).items()}
    if not about.naflex:
        return {"pixel_values": x, **more}
    down, across = spec.patch_size
    patches = x.reshape(len(x), -1, rows, down, cols, across).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": patches.flatten(3).flatten(1, 2),
        "pixel_attention_mask": torch.ones(len(x), rows * cols, dtype=torch.long),
        "spatial_shapes": torch.tensor([[rows, cols]] * len(x)),
    }


def _taken(function: Callable[..., Any], inputs: Inputs) -> Inputs:
    """Those of the inputs that a function has parameters for."""
    return {name: value for name, value in inputs.items() if name in signature(function).parameters}


def _projected(model: Any, inputs: Inputs) -> Tensor:
    """The embedding: a model of two towers has a method for it."""
    embed = getattr(model, "get_image_features", model)
    out = embed(**_taken(getattr(embed, "forward", embed), inputs))
    return out.get("image_embeds", out.get("pooler_output"))  # type: ignore[no-any-return]
