"""The registry: what there is, by name. Nothing here imports torch."""

from vitzoo.registry.find import list_models, list_pretrained, near
from vitzoo.registry.index import (
    ENTRY_POINTS,
    ENVIRONMENT,
    Resolved,
    add_registry,
    aliases,
    default_entry,
    entries_of,
    entry_spec,
    figures,
    knows,
    measures,
    model_spec,
    record,
    resolve,
    weights_entry,
    with_layout,
)
from vitzoo.registry.label_sets import class_names

__all__ = [
    "ENTRY_POINTS",
    "ENVIRONMENT",
    "Resolved",
    "add_registry",
    "aliases",
    "class_names",
    "default_entry",
    "entries_of",
    "entry_spec",
    "figures",
    "knows",
    "list_models",
    "list_pretrained",
    "measures",
    "model_spec",
    "near",
    "record",
    "resolve",
    "weights_entry",
    "with_layout",
]
