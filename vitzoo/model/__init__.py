"""The network, built from a spec. Nothing here knows a model's name, a layout or a file."""

from vitzoo.model.backbone import Backbone, Tokens
from vitzoo.model.dialect import TimmDialect

__all__ = ["Backbone", "TimmDialect", "Tokens"]
