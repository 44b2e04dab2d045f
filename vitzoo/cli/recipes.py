"""`vitzoo recipes`: the ways to train."""

import json

from vitzoo.cli.options import AsJson, RecipeArgument
from vitzoo.cli.tables import columns
from vitzoo.registry.recipes import list_recipes, load_recipe


def recipes(
    name: RecipeArgument = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes, or show one."""
    found = {recipe: load_recipe(recipe) for recipe in (list_recipes() if name is None else [name])}
    if as_json:
        print(json.dumps({recipe: each.model_dump(mode="json") for recipe, each in found.items()}, indent=2))
    elif name is None:
        print(columns([(recipe, each.about) for recipe, each in found.items()]))
    else:
        print(found[name].to_yaml(), end="")
