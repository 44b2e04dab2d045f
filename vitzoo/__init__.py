"""vitzoo: every plain Vision Transformer, by name or by file.

The public names are imported when they are first used, so that `import vitzoo` and `vitzoo list` do not import torch.
No module carries a public function's name, since importing it would put the module in the function's place.
"""

import importlib
from typing import TYPE_CHECKING, Any

from vitzoo import errors as errors
from vitzoo.extras import extra_for
from vitzoo.version import __version__ as __version__

if TYPE_CHECKING:
    from vitzoo.checkpoints.convert import convert
    from vitzoo.checkpoints.save import save
    from vitzoo.checkpoints.verify import verify
    from vitzoo.data.columns import Columns
    from vitzoo.embedding.approximate import build_index
    from vitzoo.embedding.duplicates import duplicates
    from vitzoo.embedding.maps import write_map
    from vitzoo.embedding.pipeline import embed
    from vitzoo.embedding.search import search
    from vitzoo.embedding.store import Store
    from vitzoo.errors import VitzooError
    from vitzoo.evaluation.choice import choose
    from vitzoo.evaluation.measure import evaluate
    from vitzoo.evaluation.probes import probe
    from vitzoo.images.load import load_image
    from vitzoo.images.transform import preprocess
    from vitzoo.model import Tokens
    from vitzoo.publish.card import write_card
    from vitzoo.publish.dialect import ViT, create
    from vitzoo.publish.push import push
    from vitzoo.registry import add_registry, list_models, list_pretrained
    from vitzoo.registry.describe import info
    from vitzoo.spec import About, Preprocessing, ViTSpec
    from vitzoo.train.finetuning import finetune
    from vitzoo.train.folds import cross_validate


_HOMES = {
    "choose": "vitzoo.evaluation.choice",
    "convert": "vitzoo.checkpoints.convert",
    "create": "vitzoo.publish.dialect",
    "build_index": "vitzoo.embedding.approximate",
    "duplicates": "vitzoo.embedding.duplicates",
    "write_map": "vitzoo.embedding.maps",
    "embed": "vitzoo.embedding.pipeline",
    "search": "vitzoo.embedding.search",
    "Store": "vitzoo.embedding.store",
    "Columns": "vitzoo.data.columns",
    "cross_validate": "vitzoo.train.folds",
    "VitzooError": "vitzoo.errors",
    "evaluate": "vitzoo.evaluation.measure",
    "finetune": "vitzoo.train.finetuning",
    "info": "vitzoo.registry.describe",
    "Tokens": "vitzoo.model",
    "ViT": "vitzoo.publish.dialect",
    "probe": "vitzoo.evaluation.probes",
    "load_image": "vitzoo.images.load",
    "preprocess": "vitzoo.images.transform",
    "push": "vitzoo.publish.push",
    "add_registry": "vitzoo.registry",
    "list_models": "vitzoo.registry",
    "list_pretrained": "vitzoo.registry",
    "About": "vitzoo.spec",
    "Preprocessing": "vitzoo.spec",
    "ViTSpec": "vitzoo.spec",
    "save": "vitzoo.checkpoints.save",
    "verify": "vitzoo.checkpoints.verify",
    "write_card": "vitzoo.publish.card",
}

__all__ = [
    "About",
    "Columns",
    "Preprocessing",
    "Store",
    "Tokens",
    "ViT",
    "ViTSpec",
    "VitzooError",
    "add_registry",
    "build_index",
    "choose",
    "convert",
    "create",
    "cross_validate",
    "duplicates",
    "embed",
    "evaluate",
    "finetune",
    "info",
    "list_models",
    "list_pretrained",
    "load_image",
    "preprocess",
    "probe",
    "push",
    "save",
    "search",
    "verify",
    "write_card",
    "write_map",
]


_ELSEWHERE = {
    "create_model": "vitzoo.create(name, pretrained=True)",
    "create_model_and_transforms": "vitzoo.create(name, pretrained=True) and vitzoo.preprocess(model)",
    "from_pretrained": "vitzoo.create(name, pretrained=True), or vitzoo.ViT.from_pretrained(name)",
    "AutoModel": "vitzoo.create(name, pretrained=True)",
    "load": "vitzoo.create(file)",
    "list_pretrained_models": "vitzoo.list_pretrained()",
    "create_transform": "vitzoo.preprocess(model)",
}
"""What other libraries call it, and what is meant here."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitzoo' has no attribute '{name}'{_instead(name)}", name=name)

    with extra_for(_HOMES[name].split(".")[1]):
        value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def _instead(name: str) -> str:
    """What may be meant, in words."""
    import difflib

    near = difflib.get_close_matches(name, _HOMES, n=1)
    meant = _ELSEWHERE.get(name) or (f"vitzoo.{near[0]}" if near else None)
    return f"; use {meant}" if meant else ""


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
