"""The network, built from a spec. Nothing here knows a model's name, a layout or a file."""

from vitzoo.model.vit import Tokens, ViT

__all__ = ["Tokens", "ViT"]
