"""The registry's files: their form, what follows from the rest and is not typed, and their JSON Schemas."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tools import labels, schema
from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry import index
from vitzoo.registry.families import read_family
from vitzoo.registry.label_sets import SETS, known_set, synsets

DATA = Path(__file__).parents[2] / "registry"
FILES = sorted(DATA.glob("families/*.yaml"))
WEIGHTS = {"license": "mit", "preprocessing": {}, "resample": "timm"}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    monkeypatch.setattr(index, "_loaded", index._registry())


def add(folder: Path, name: str = "acme.yaml", **content: Any) -> None:
    path = folder / name
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    registry.add_registry(path)


# --- what is filled in


def test_bases_are_merged_in_their_order(tmp_path: Path) -> None:
    models = {
        "_wide": {"hidden_dim": 64, "mlp_dim": 128, "rope": {"kind": "axial", "theta": 100}},
        "_deep": {"depth": 9, "mlp_dim": 256, "rope": {"theta": 10}},
        "acme": {"base": ["_wide", "_deep"], "num_heads": 2},
        "acme_turned": {"base": ["_deep", "_wide"], "num_heads": 2, "depth": 1},
    }
    add(tmp_path, models=models)
    spec, turned = registry.model_spec("acme"), registry.model_spec("acme_turned")
    assert (spec.hidden_dim, spec.depth, spec.mlp_dim) == (64, 9, 256)
    assert (turned.depth, turned.mlp_dim) == (1, 128)
    assert spec.rope is not None
    assert turned.rope is not None
    assert (spec.rope.theta, turned.rope.theta) == (10, 100)


def test_presets_are_bases_in_every_file_and_a_name_of_its_own_goes_first(tmp_path: Path) -> None:
    models = {"acme": {"base": "_s"}, "acme_own": {"base": "_b"}, "_b": {"base": "_s", "depth": 3}}
    add(tmp_path, models=models)
    assert registry.model_spec("acme") == registry.model_spec("deit_s16")
    assert registry.model_spec("acme_own") == registry.model_spec("deit_s16").replace(depth=3)
    with pytest.raises(RegistryError, match="unknown model '_s'"):
        registry.model_spec("_s")


def test_the_family_is_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text("models: {}\n")
    assert read_family(tmp_path / "acme.yaml").family == "acme"
    assert {read_family(file).family for file in FILES} == {file.stem for file in FILES}


@pytest.mark.parametrize(
    ("labels", "spec", "expected"),
    [
        ("imagenet-1k", {}, 1000),
        ("imagenet-22k", {}, 21841),
        (["cat", "dog", "cow"], {}, 3),
        (None, {}, 7),
        (None, {"num_classes": 4}, 4),
        ("somebodys-1k", {}, 7),  # a set that is not known says nothing
    ],
)
def test_classes_follow_from_the_labels(tmp_path: Path, labels: object, spec: dict[str, Any], expected: int) -> None:
    entry = {**WEIGHTS, "labels": labels, "spec": spec, "sources": [{"repo": "a/b", "layout": "timm"}]}
    add(tmp_path, models={"acme": {"base": "_ti", "num_classes": 7}}, weights={"acme.x": entry})
    assert registry.entry_spec("acme.x").num_classes == expected
    changed = {} if expected == 7 else {"num_classes": expected}
    assert registry.weights_entry("acme.x").spec == changed


def test_known_label_sets_are_those_of_timm() -> None:
    from timm.data import ImageNetInfo

    for name, size in SETS.items():
        info = ImageNetInfo(name)
        assert known_set(name) == tuple(info.label_descriptions())
        assert synsets(name) == tuple(info.label_names())
        assert len(synsets(name)) == size
    assert labels.main(["--check"]) == 0


def test_an_entry_holds_only_what_differs_from_its_model() -> None:
    for name in registry.list_pretrained():
        spec, model = registry.entry_spec(name), registry.model_spec(name)
        changed = registry.weights_entry(name).spec
        assert model.replace(**changed) == spec or "rope" in changed, name
        assert all(getattr(spec, field) != getattr(model, field) for field in changed), name


def test_a_sources_layout_is_its_own_the_entrys_or_the_familys(tmp_path: Path) -> None:
    weights = {
        "_hf": {**WEIGHTS, "layout": "hf_vit"},
        "vit_b16.a": {**WEIGHTS, "sources": [{"repo": "a/a"}, {"url": "https://a.example/a.pth", "layout": "dino"}]},
        "vit_b16.b": {"base": "_hf", "sources": [{"repo": "a/b"}]},
        "vit_b16.c": {"base": "vit_b16.b", "sources": [{"repo": "a/c"}]},
    }
    add(tmp_path, layout="timm", weights=weights)
    found = {n: [(s.kind, s.layout) for s in registry.weights_entry(f"vit_b16.{n}").sources] for n in "abc"}
    assert found == {
        "a": [("hub", "timm"), ("url", "dino")],
        "b": [("hub", "hf_vit")],
        "c": [("hub", "hf_vit")],
    }


def test_weights_of_another_file_pass_on_what_they_came_to(tmp_path: Path) -> None:
    """What is filled in is not inherited as if it had been stated."""
    own = {"base": "vit_b16.augreg_in21k_ft_in1k_384", "labels": ["cat", "dog"]}
    add(tmp_path, weights={"vit_l16.acme": own})
    entry, theirs = registry.weights_entry("vit_l16.acme"), registry.weights_entry(own["base"])
    assert (entry.sources, entry.preprocessing) == (theirs.sources, theirs.preprocessing)
    assert registry.entry_spec("vit_l16.acme") == registry.model_spec("vit_l16").replace(img_size=384, num_classes=2)
    assert entry.aliases == ()
    assert entry.params > 3 * theirs.params


@pytest.mark.parametrize(
    ("timm", "spec", "repo", "aliases"),
    [
        ("acme_base", {"img_size": 384}, "timm/acme_base.in1k", ["acme_base"]),
        ("acme_base.in1k_384", {"img_size": 384}, "timm/acme_base.in1k_384", []),
        ("acme_base", {}, "timm/acme_base.in1k_384", ["acme_base"]),
    ],
)
def test_what_timm_hosts_is_named_as_timm_names_it(
    tmp_path: Path, timm: str, spec: Mapping[str, Any], repo: str, aliases: list[str]
) -> None:
    """An architecture alone is timm's default there: the tag is the entry's, without a size that it states."""
    entry = {**WEIGHTS, "timm": timm, "spec": dict(spec), "aliases": ["more"], "sources": [{"repo": "a/b"}]}
    add(tmp_path, layout="timm", weights={"vit_b16.in1k_384": entry})
    found = registry.weights_entry("vit_b16.in1k_384")
    assert [source.repo for source in found.sources if source.kind == "hub"] == [repo, "a/b"]
    assert list(found.aliases) == [*aliases, "more"]
    for name in (repo, repo.removeprefix("timm/"), "a/b", *found.aliases):
        assert registry.resolve(name).name == "vit_b16.in1k_384"


# --- the files that ship


def wrapped(node: yaml.Node, depth: int = 0) -> Iterator[int]:
    """Lines of values that begin on another line than their key; an entry's own fields may, as one flow mapping."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        flow = isinstance(value, yaml.ScalarNode) or value.flow_style
        if flow and depth != 1 and key.end_mark.line != value.start_mark.line:
            yield value.start_mark.line + 1
        yield from wrapped(value, depth + 1)
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        yield from wrapped(item, depth + 1)


def test_no_value_is_wrapped_away_from_its_key() -> None:
    for file in (*FILES, DATA / "presets.yaml"):
        text = file.read_text(encoding="utf-8")
        assert list(wrapped(yaml.compose(text))) == [], file
        assert all(len(line) <= 120 or "url: https://" in line for line in text.splitlines()), file
    assert list(wrapped(yaml.compose("models:\n  a:\n    {depth: 1, act:\n     silu}\n"))) == [4]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_match_the_json_schema(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(json.loads((DATA / "schema" / "families.schema.json").read_text()))
    text = path.read_text(encoding="utf-8")
    validator.validate(yaml.safe_load(text))
    assert text.startswith("# yaml-language-server: $schema=../schema/families.schema.json\n")
    for kind in ("models", "weights"):
        data = yaml.safe_load(text)
        next(iter(data[kind].values()))["colour"] = "red"
        assert not validator.is_valid(data)


def test_presets_match_the_json_schema() -> None:
    validator = jsonschema.Draft202012Validator(json.loads((DATA / "schema" / "presets.schema.json").read_text()))
    data = yaml.safe_load((DATA / "presets.yaml").read_text(encoding="utf-8"))
    validator.validate(data)
    assert not validator.is_valid({**data, "title": "no family"})
    assert not validator.is_valid({"models": {"vit_b16": {}}})


SOURCE = {"repo": "a/b", "layout": "timm"}


@pytest.mark.parametrize(
    "change",
    [
        {"sources": [{"layout": "timm"}]},
        {"sources": [{"kind": "url", "repo": "a/b", "layout": "timm"}]},
        {"spec": {"deep": 3}},
        {"resample": "nearest"},
        {"params": "many"},
        {"base": [1]},
    ],
)
def test_the_json_schema_refuses_what_the_spec_refuses(change: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema.schemas()["families.schema.json"])
    assert validator.is_valid({"weights": {"vit_b16.x": {**WEIGHTS, "sources": [SOURCE]}}})
    assert not validator.is_valid({"weights": {"vit_b16.x": {**WEIGHTS, "sources": [SOURCE], **change}}})


def test_the_json_schemas_are_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert schema.main(["--check"]) == 0
    monkeypatch.setattr(schema, "FOLDER", tmp_path / "schema")
    assert schema.main(["--check"]) == 1
    assert "families.schema.json is not up to date; run `python -m tools.schema`" in capsys.readouterr().out
    assert schema.main([]) == 0
    assert schema.main(["--check"]) == 0
    for text in schema.schemas().values():
        jsonschema.Draft202012Validator.check_schema(text)


def test_the_examples_of_the_docs(tmp_path: Path) -> None:
    text = (DATA.parent / "docs" / "registry.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "families").mkdir()
    (tmp_path / "families" / "acme.yaml").write_text(example)
    validator = jsonschema.Draft202012Validator(schema.schemas()["families.schema.json"])
    validator.validate(yaml.safe_load(example))
    registry.add_registry(tmp_path)
    assert registry.resolve("acme_small_patch16_224").name == "acme_s16.in1k"
    assert registry.entry_spec("acme_s16.in1k").depth == 12
    assert len(registry.weights_entry("acme_s16.in1k_384").sources) == 2
    table = text[text.index("| You have") : text.index("The tag says")]
    for row in table.splitlines()[2:-1]:
        *names, expected = re.findall(r"`([^`]+)`", row)
        for name in names:
            assert name.endswith((":", "/")) or registry.resolve(name).name == expected
