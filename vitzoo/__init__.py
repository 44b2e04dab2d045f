"""vitzoo: every plain Vision Transformer, by name or by file.

The public names are imported when they are first used, so that `import vitzoo` and `vitzoo list` do not import torch.
No module carries a public function's name, since importing it would put the module in the function's place.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitzoo.conversion import convert
    from vitzoo.describe import info
    from vitzoo.errors import VitzooError
    from vitzoo.factory import create
    from vitzoo.model import Tokens, ViT
    from vitzoo.model_card import write_card
    from vitzoo.publishing import push
    from vitzoo.registry import add_registry, list_models, list_pretrained
    from vitzoo.spec import Preprocessing, ViTSpec
    from vitzoo.train.evaluation import evaluate
    from vitzoo.train.finetuning import finetune
    from vitzoo.transform import load_image, preprocess
    from vitzoo.verification import verify
    from vitzoo.weights.save import save

__version__ = "0.1.0"

_HOMES = {
    "convert": "vitzoo.conversion",
    "create": "vitzoo.factory",
    "VitzooError": "vitzoo.errors",
    "evaluate": "vitzoo.train.evaluation",
    "finetune": "vitzoo.train.finetuning",
    "info": "vitzoo.describe",
    "Tokens": "vitzoo.model",
    "ViT": "vitzoo.model",
    "load_image": "vitzoo.transform",
    "preprocess": "vitzoo.transform",
    "push": "vitzoo.publishing",
    "add_registry": "vitzoo.registry",
    "list_models": "vitzoo.registry",
    "list_pretrained": "vitzoo.registry",
    "Preprocessing": "vitzoo.spec",
    "ViTSpec": "vitzoo.spec",
    "save": "vitzoo.weights.save",
    "verify": "vitzoo.verification",
    "write_card": "vitzoo.model_card",
}

__all__ = [
    "Preprocessing",
    "Tokens",
    "ViT",
    "ViTSpec",
    "VitzooError",
    "add_registry",
    "convert",
    "create",
    "evaluate",
    "finetune",
    "info",
    "list_models",
    "list_pretrained",
    "load_image",
    "preprocess",
    "push",
    "save",
    "verify",
    "write_card",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitzoo' has no attribute '{name}'")

    try:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if not _HOMES[name].startswith("vitzoo.train.") or str(error.name).startswith("vitzoo"):
            raise
        from vitzoo.errors import TrainingError

        message = f'vitzoo.{name} needs {error.name}, which is not installed: pip install "vitzoo[train]"'
        raise TrainingError(message) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
