"""docs/recipes.md: each recipe that ships, and every field that a recipe may have."""

import types
from enum import StrEnum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from vitzoo.markdown import page, table
from vitzoo.registry.recipes import Recipe, list_recipes, load_recipe

HEADER = """# Recipes

Written by `python -m tools.docs` from `registry/recipes/` and the fields of `vitzoo.registry.recipes.Recipe`; do not
edit.

`vitzoo finetune --recipe NAME --set FIELD=VALUE` takes one and changes it; `vitzoo recipes NAME` prints one as a file
to start from, and `--recipe my.yaml` takes it. `base:` in a file names the recipe that it starts from.
[Fine-tuning](finetuning.md) shows how."""
SHOWN = ("trainable", "optimizer", "lr", "layer_decay", "weight_decay", "epochs", "batch_size")


def recipes_page() -> str:
    """The page of all recipes."""
    recipes = {name: load_recipe(name) for name in list_recipes()}
    rows = [(f"`{name}`", recipe.about, recipe.source or "") for name, recipe in recipes.items()]
    numbers = [(f"`{name}`", *(_value(getattr(recipe, f)) for f in SHOWN)) for name, recipe in recipes.items()]
    fields = [
        (f"`{name}`", _kind(field.annotation), _default(field), field.description or "")
        for name, field in Recipe.model_fields.items()
        if name not in ("about", "source")
    ]
    return page(
        [HEADER],
        table(("recipe", "what for", "source of its numbers"), rows),
        table(("recipe", *SHOWN), numbers, SHOWN[2:]),
        ["## Fields", "", "A field without a default has to be given."],
        table(("field", "kind", "default", "what it is"), fields),
    )


def _default(field: FieldInfo) -> str:
    return "" if field.is_required() else _value(field.get_default(call_default_factory=True))


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def _kind(annotation: Any) -> str:
    """A type in a reader's words."""
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in get_args(annotation))
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(annotation)
    if annotation is type(None):
        return "none"
    words = {bool: "true, false", int: "integer", float: "number", str: "text"}
    base = get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    if base in words:
        return words[base]
    return "list" if get_origin(base) is tuple else "mapping"
