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
    from vitzoo.registry import add_registry, list_models, list_pretrained
    from vitzoo.spec import Preprocessing, ViTSpec
    from vitzoo.transform import load_image, preprocess
    from vitzoo.verification import verify
    from vitzoo.weights.save import save

__version__ = "0.1.0"

_HOMES = {
    "convert": "vitzoo.conversion",
    "create": "vitzoo.factory",
    "VitzooError": "vitzoo.errors",
    "info": "vitzoo.describe",
    "Tokens": "vitzoo.model",
    "ViT": "vitzoo.model",
    "load_image": "vitzoo.transform",
    "preprocess": "vitzoo.transform",
    "add_registry": "vitzoo.registry",
    "list_models": "vitzoo.registry",
    "list_pretrained": "vitzoo.registry",
    "Preprocessing": "vitzoo.spec",
    "ViTSpec": "vitzoo.spec",
    "save": "vitzoo.weights.save",
    "verify": "vitzoo.verification",
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
    "info",
    "list_models",
    "list_pretrained",
    "load_image",
    "preprocess",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitzoo' has no attribute '{name}'")

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
