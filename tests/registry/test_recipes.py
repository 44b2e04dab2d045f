"""Recipes: what ships is valid, inheritance, overrides, refusals, and the YAML that is written beside the results."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tools import schema
from vitzoo.cli.options import fields
from vitzoo.errors import RegistryError, SpecError
from vitzoo.extras import advice
from vitzoo.registry.recipes import Recipe, list_recipes, load_recipe
from vitzoo.registry.shipped import data_dir
from vitzoo.registry.strict_yaml import read_yaml

FOLDER = data_dir() / "recipes"


def test_the_kinds_that_are_promised_are_there() -> None:
    found = {name: load_recipe(name) for name in list_recipes()}
    assert {recipe.trainable for recipe in found.values()} == {"full", "head", "last-2", "lora"}
    assert found["vit_sgd"].optimizer == "momentum"
    assert found["vit_sgd"].img_size == (384, 384)
    assert (found["vit_sgd"].clip_norm, found["vit_sgd"].weight_decay) == (1.0, 0.0)
    assert found["adamw_layer_decay"].layer_decay < 1
    assert not found["from_scratch"].pretrained
    assert found["vit_nano4_cifar10"].optimizer == "muon"


@pytest.mark.parametrize("name", list_recipes())
def test_each_recipe_says_what_it_is_for_and_matches_the_schema(name: str) -> None:
    file = FOLDER / f"{name}.yaml"
    assert load_recipe(name).about
    assert file.read_text().startswith("# yaml-language-server: $schema=../schema/recipes.schema.json\n")
    validator = jsonschema.Draft202012Validator(schema.schemas()["recipes.schema.json"])
    validator.validate(yaml.safe_load(file.read_text()))
    assert not validator.is_valid({**yaml.safe_load(file.read_text()), "learning_rate": 1})


@pytest.mark.parametrize("name", list_recipes())
def test_what_is_written_beside_the_results_is_the_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, seed=7)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    assert json.dumps(recipe.model_dump(mode="json"))


def test_a_recipe_of_ones_own_inherits_from_those_that_ship_and_from_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: lora\nlora_rank: 4\n")
    (tmp_path / "other.yaml").write_text("base: mine\nepochs: 3\nlora_alpha: 32\n")
    (tmp_path / "third.yaml").write_text("base: other.yaml\nwarmup_epochs: 0\n")
    found = load_recipe(tmp_path / "third.yaml", lr=0.5)
    lora = load_recipe("lora")
    assert (found.lora_rank, found.epochs, found.lora_alpha, found.warmup_epochs, found.lr) == (4, 3, 32, 0, 0.5)
    assert found == lora.model_copy(
        update={
            "lora_rank": 4,
            "epochs": 3,
            "lora_alpha": 32.0,
            "warmup_epochs": 0.0,
            "lr": 0.5,
            "about": "",
            "source": None,
        }
    )


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("adamw_decay", {}, r"unknown recipe 'adamw_decay' .*; did you mean adamw_layer_decay"),
        ("zzz", {}, r"unknown recipe 'zzz' .*; there are adamw_layer_decay, from_scratch"),
        ("/no/such.yaml", {}, r"such.yaml cannot be read: No such file"),
    ],
)
def test_unknown_recipes(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        load_recipe(name, **overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learning_rate": 1}, "unknown field 'learning_rate'; the fields are about, accumulate"),
        ({"lr": 0}, "lr: .*greater than 0, found 0"),
        ({"trainable": "last-0"}, "trainable: .*found 'last-0'"),
        ({"trainable": "heads"}, "trainable: .*found 'heads'"),
        ({"schedule": "step"}, "schedule: .*'cosine', 'linear' or 'constant', found 'step'"),
        ({"fallback_lr": 1e-3}, "fallback_lr belongs to optimizer 'muon', found optimizer 'adamw'"),
        ({"crop_padding": 4}, "crop_padding and crop_scale exclude each other"),
        ({"mixup": 0.8, "batch_size": 3}, "batch_size 3 is odd"),
        ({"epochs": 1, "warmup_epochs": 1}, "warmup_epochs 1 leaves nothing of 1 epochs"),
        ({"min_lr": 1.0}, "min_lr 1 is higher than lr"),
        ({"trainable": "lora", "layer_decay": 0.5}, "layer_decay is for trainable 'full' or 'last-N', found 'lora'"),
        ({"pretrained": False, "trainable": "head"}, "would leave random weights as they are"),
    ],
)
def test_values_that_do_not_go_together(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_recipe("full", **overrides)


def test_a_field_of_several_kinds_is_called_by_its_name_alone() -> None:
    with pytest.raises(SpecError) as found:
        load_recipe("adamw_layer_decay", class_weights="balance")
    assert "class_weights: expected none, balanced, or numbers above 0" in str(found.value)
    assert "[" not in str(found.value)


@pytest.mark.parametrize("name", list_recipes())
def test_each_recipe_can_be_tried_for_one_epoch(name: str) -> None:
    plain, short = load_recipe(name), load_recipe(name, epochs=1)
    assert short.warmup_epochs < 1
    if plain.warmup_epochs >= 1:
        assert short.warmup_epochs == pytest.approx(plain.warmup_epochs / plain.epochs)
    assert load_recipe(name, epochs=plain.epochs + 1).warmup_epochs == plain.warmup_epochs
    assert plain.changed(epochs=1) == short


def test_a_warm_up_stays_the_same_part_of_fewer_epochs_in_files_too(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("base: full\nepochs: 1\n")
    (tmp_path / "told.yaml").write_text("base: full\nepochs: 1\nwarmup_epochs: 0.5\n")
    assert load_recipe(tmp_path / "short.yaml").warmup_epochs == 0.05
    assert load_recipe(tmp_path / "told.yaml").warmup_epochs == 0.5
    with pytest.raises(SpecError, match="epochs"):
        load_recipe("full", epochs="one")


def test_a_base_cannot_go_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b\n")
    (tmp_path / "b.yaml").write_text("base: a\n")
    with pytest.raises(RegistryError, match="base goes in a circle: a -> b -> a"):
        load_recipe(tmp_path / "a.yaml")


def test_files_are_read_as_strictly_as_the_registry(tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("lr: 1.0\nlr: 2.0\n")
    (tmp_path / "list.yaml").write_text("- lr\n")
    with pytest.raises(RegistryError, match="line 2: 'lr' is there twice"):
        load_recipe(tmp_path / "twice.yaml")
    with pytest.raises(RegistryError, match="expected the fields of a recipe as a mapping, found list"):
        load_recipe(tmp_path / "list.yaml")


def test_recipes_need_neither_torch_nor_the_extra() -> None:
    code = "import sys; from vitzoo.registry.recipes import *; [load_recipe(name) for name in list_recipes()]"
    check = "; assert not {'torch', 'timm', 'lightning', 'peft'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code + check], check=True, capture_output=True)


def test_without_the_extra_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['lightning'] = None; from vitzoo.cli import main; "
        "sys.argv = 'vitzoo finetune -m vit_b16 -d . -o c'.split(); main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("vitzoo: lightning is not installed, which this needs: pip install ")
    assert advice("train") in run.stderr
    assert "Traceback" not in run.stderr


def test_the_command_line_lists_recipes_and_shows_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from vitzoo.cli import command_line

    app = command_line()
    app(["recipes"], standalone_mode=False)
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list_recipes()
    app(["recipes", "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["lora"] == load_recipe("lora").model_dump(mode="json")
    app(["recipes", "lora"], standalone_mode=False)
    (tmp_path / "shown.yaml").write_text(capsys.readouterr().out)
    assert Recipe.parse(read_yaml(tmp_path / "shown.yaml"), "shown") == load_recipe("lora")


@pytest.mark.follows(", or numbers above 0 by the names of classes")
@pytest.mark.parametrize(
    "value", ["weird", {"a": -1}, {"a": "x"}, {"a": True}, [1, 2], 3, {"a": 0}, {"a": float("inf")}]
)
def test_class_weights_are_refused_in_words(value: object) -> None:
    with pytest.raises(SpecError) as raised:
        load_recipe("full", class_weights=value)
    expected = 'class_weights: expected none, balanced, or numbers above 0 by the names of classes: {"rare": 5}'
    assert str(raised.value).startswith(f"recipe full: {expected}, found ")
    assert load_recipe("full", class_weights={"rare": 5}).class_weights == {"rare": 5.0}


@pytest.mark.follows("expected the classes from the lowest on")
def test_grades_as_people_write_them() -> None:
    for text in ("[low,mid]", "[low, mid]", '["low","mid"]'):
        assert load_recipe("full", task="ordinal", **fields([f"grades={text}"])).grades == ("low", "mid")
    assert load_recipe("full", task="ordinal", grades=[1, 2]).grades == ("1", "2")
    with pytest.raises(SpecError, match="grades: expected the classes from the lowest on, as in"):
        load_recipe("full", task="ordinal", grades="low,mid")
