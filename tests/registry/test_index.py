"""Names, lists and the users' own registries: the rules of the registry against files that break them."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry import index
from vitzoo.registry.describe import count_parameters

DATA = Path(__file__).parents[2] / "registry"


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    monkeypatch.setattr(index, "_loaded", index._registry())


@cache
def known_labels(name: str) -> tuple[str, ...] | None:
    """Reading timm's lists takes a second."""
    return registry.class_names(name)


# --- what the files say


@pytest.mark.parametrize("name", registry.list_models())
def test_every_model_is_valid(name: str) -> None:
    assert registry.model_spec(name).num_patches > 0


@pytest.mark.parametrize("name", registry.list_pretrained())
def test_every_entry_is_valid_and_counts_its_parameters(name: str) -> None:
    entry, spec = registry.weights_entry(name), registry.entry_spec(name)
    assert entry.params == count_parameters(spec)
    assert all(source.layout for source in entry.sources)
    assert entry.origin
    assert len(entry.preprocessing.mean) == spec.in_chans
    names = known_labels(entry.labels) if isinstance(entry.labels, str) else entry.labels
    assert names is None or len(names) == spec.num_classes


def test_a_resolution_that_is_not_the_models_own_is_in_the_tag() -> None:
    for name in registry.list_pretrained("vit_*") + registry.list_pretrained("deit_*"):
        size, own = registry.entry_spec(name).img_size, registry.model_spec(name).img_size
        assert name.endswith(f"_{size[0]}") is (size != own), name


def test_params_of_a_few_by_heart() -> None:
    assert registry.weights_entry("vit_b16.augreg_in21k_ft_in1k").params == 86_567_656  # timm's results table
    assert registry.weights_entry("deit_ti16.fb_in1k").params == 5_717_416


# --- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_b16", "vit_b16"),
        ("vit_b16.augreg_in21k", "vit_b16.augreg_in21k"),
        ("vit_base_patch16_224", "vit_b16.augreg2_in21k_ft_in1k"),
        ("vit_base_patch16_384", "vit_b16.augreg_in21k_ft_in1k_384"),
        ("vit_base_patch16_224.augreg_in21k", "vit_b16.augreg_in21k"),
        ("timm/vit_base_patch16_224.augreg_in21k", "vit_b16.augreg_in21k"),
        ("google/vit-base-patch16-224", "vit_b16.hf_google_in21k_ft_in1k"),
        ("facebook/deit-base-distilled-patch16-384", "deit_b16_distilled.hf_fb_in1k_384"),
        ("vit_b_16", "vit_b16.tv_in1k_v1"),
        ("ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1", "vit_h14.tv_swag_e2e_in1k_518"),
        ("vit_giant_patch14_224", "vit_g14"),
    ],
)
def test_aliases(name: str, expected: str) -> None:
    assert registry.resolve(name).name == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_b17", r"^unknown model 'vit_b17'; did you mean vit_b16, "),
        ("VIT_B16", r"did you mean vit_b16,"),
        ("vit_b16.augreg_21k", r"^unknown tag 'augreg_21k' of model 'vit_b16'; its tags are augreg_in21k, augreg"),
        ("vit_b16.", r"unknown tag '' of model 'vit_b16'; its tags are augreg2_in21k_ft_in1k, "),
        ("vit_g14.any", r"unknown tag 'any' of model 'vit_g14'; nothing was published for it"),
        ("vit_base_patch16_225", r"did you mean vit_base_patch16_224,"),
        (
            "google/vit-base-patch16-223",
            r"'google/vit-base-patch16-223'; did you mean google/vit-base-patch16-224,",
        ),
        ("resnet50", r"^unknown model 'resnet50'; `vitzoo list` shows what there is$"),
        ("_base", r"unknown model '_base'"),
    ],
)
def test_unknown_names_are_answered_with_known_ones(name: str, message: str) -> None:
    for ask in (registry.resolve, registry.model_spec, registry.weights_entry, registry.default_entry):
        with pytest.raises(RegistryError, match=message):
            ask(name)


def test_a_model_is_not_its_weights() -> None:
    with pytest.raises(
        RegistryError, match="'vit_b32' is a model, not its weights; its tags are augreg_in21k_ft_in1k, "
    ):
        registry.entry_spec("vit_b32")


def test_listing() -> None:
    models = registry.list_models("vit_b*")
    assert models.index("vit_b8") < models.index("vit_b16") < models.index("vit_b32")
    assert not [name for name in registry.list_models() + registry.list_pretrained() if name.startswith("_")]
    names = registry.list_pretrained("vit_b16.*")
    assert names[0] == registry.default_entry("vit_b16") == "vit_b16.augreg2_in21k_ft_in1k"
    assert registry.list_pretrained("*SWAG*") == registry.list_pretrained("*tv_swag*")  # by torchvision's names
    free = registry.list_pretrained(license=["apache-2.0", "bsd-3-clause"])
    assert registry.list_pretrained("*tv_swag*")[0] not in free
    assert "vit_b16.tv_in1k_v1" in free
    assert registry.list_pretrained("vit_b16*", license="cc-by-4.0") == ["vit_b16.bamboo"]


def test_specs_of_an_entry() -> None:
    assert registry.entry_spec("vit_b16.augreg_in21k_ft_in1k_384").img_size == (384, 384)
    assert registry.model_spec("vit_b16.augreg_in21k_ft_in1k_384").img_size == (224, 224)
    assert registry.entry_spec("vit_b16.augreg_in21k").num_classes == 21843
    assert registry.entry_spec("deit_b16_distilled.fb_in1k").num_prefix_tokens == 2


def test_labels() -> None:
    names = registry.class_names(registry.weights_entry("vit_b16.augreg_in1k").labels)
    assert names is not None
    assert names[0].startswith("tench")
    assert registry.class_names(("cat", "dog")) == ("cat", "dog")
    with pytest.raises(RegistryError, match="unknown set of labels 'imagenet-3k'"):
        registry.class_names("imagenet-3k")


# --- the users' own registries

MODEL = {"base": "vit_ti16", "num_classes": 2}
Write = Callable[..., Path]


def fields(repo: str = "acme/tiny", **changes: object) -> dict[str, Any]:
    return {
        "sources": [{"kind": "hub", "repo": repo, "layout": "timm"}],
        "license": "mit",
        "preprocessing": {"crop_pct": 0.9},
        "resample": "timm",
        **changes,
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(models: object = None, weights: object = None, name: str = "own.yaml", **fields: object) -> Path:
        data = {"family": "acme", "models": models, "weights": weights, **fields}
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}, sort_keys=False))
        return path

    return write


def test_one_file_with_models_and_weights(write: Write) -> None:
    models = {"acme_ti16": {**MODEL, "aliases": ["acme"]}}
    path = write(models, {"acme_ti16.v1": fields(), "vit_b16.acme": fields("acme/base")})
    registry.add_registry(path)
    registry.add_registry(str(path))  # the same file again changes nothing
    assert registry.list_models("acme*") == ["acme_ti16", "vit_b16"]
    assert registry.resolve("acme").name == "acme_ti16"
    assert registry.resolve("acme/tiny").name == "acme_ti16.v1"
    assert registry.entry_spec("acme_ti16.v1") == registry.model_spec("vit_ti16").replace(num_classes=2)
    assert registry.default_entry("acme") == "acme_ti16.v1"
    assert registry.list_pretrained("vit_b16.*")[-1] == "vit_b16.acme"
    assert registry.default_entry("vit_b16") == "vit_b16.augreg2_in21k_ft_in1k"


def test_a_folder_laid_out_like_the_registry(write: Write, tmp_path: Path) -> None:
    write({"acme_ti16": {"base": ["_acme", "_ti"]}}, {"acme_ti16.v1": fields()}, name="families/a.yaml")
    write({"acme_b16": {"base": ["_acme", "_b"]}}, name="domains/b.yaml")
    (tmp_path / "presets.yaml").write_text("models:\n  _acme: {num_classes: 2}\n")
    registry.add_registry(tmp_path)
    assert registry.resolve("acme/tiny").name == "acme_ti16.v1"
    assert [registry.model_spec(name).hidden_dim for name in ("acme_ti16", "acme_b16")] == [192, 768]
    assert registry.model_spec("acme_b16").num_classes == 2


def test_a_folder_with_models_and_weights_apart(write: Write, tmp_path: Path) -> None:
    write({"acme_ti16": MODEL}, name="models/a.yaml")
    write(None, {"acme_ti16.v1": fields()}, name="weights/a.yaml")
    registry.add_registry(tmp_path)
    assert registry.resolve("acme/tiny").name == "acme_ti16.v1"


def test_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write({"one": MODEL}, name="1.yaml"), write({"two": {"base": "one"}}, name="2.yaml")
    monkeypatch.setenv(registry.ENVIRONMENT, os.pathsep.join(map(str, (first, second, ""))))
    monkeypatch.setattr(index, "_loaded", None)
    assert registry.model_spec("two").num_classes == 2
    monkeypatch.setenv(registry.ENVIRONMENT, "/nowhere.yaml")
    monkeypatch.setattr(index, "_loaded", None)
    with pytest.raises(RegistryError, match=r"^VITZOO_REGISTRY: /nowhere.yaml cannot be read: No such file"):
        registry.list_models()


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a package `acme_vits` with the registry's entry point, as pip would lay it out."""
    site = tmp_path / "site"

    def install(value: str) -> None:
        info = site / "acme_vits-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-vits\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\nacme = {value}\n")
        package = site / "acme_vits"
        (package / "families").mkdir(parents=True)
        (package / "families" / "acme.yaml").write_text(yaml.safe_dump({"family": "acme", "models": {"acme": MODEL}}))
        (package / "__init__.py").write_text(
            "from pathlib import Path\n"
            "def folder():\n    return Path(__file__).parent\n"
            "def nothing():\n    raise OSError('no disk')\n"
        )
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        monkeypatch.setattr(index, "_loaded", None)

    yield install
    sys.modules.pop("acme_vits", None)


@pytest.mark.parametrize("value", ["acme_vits", "acme_vits:folder"])
def test_entry_point(distribution: Callable[[str], None], value: str) -> None:
    distribution(value)
    assert registry.list_models("acme") == ["acme"]


@pytest.mark.parametrize(
    ("value", "reason"), [("acme_vits:nothing", "OSError: no disk"), ("acme_vits.gone", "ModuleNotFoundError")]
)
def test_a_broken_entry_point_is_named(distribution: Callable[[str], None], value: str, reason: str) -> None:
    distribution(value)
    with pytest.raises(
        RegistryError, match=f"^entry point acme = {value} of vitzoo.registries gives no path: {reason}"
    ):
        registry.list_models()


@pytest.mark.parametrize(
    ("models", "weights", "message"),
    [
        ({"vit_b16": MODEL}, None, r"own.yaml: vit_b16: families/vit.yaml has that name; choose another one"),
        (None, {"vit_b16.sam_in1k": fields()}, r"vit_b16.sam_in1k: families/vit.yaml has that name"),
        (None, {"vit_b17.v1": fields()}, r"vit_b17.v1: there is no model 'vit_b17'; did you mean vit_b16,"),
        ({"a": {"base": "vit_b17"}}, None, r"own.yaml: a: unknown base 'vit_b17'; did you mean vit_b16,"),
        ({"a": {"base": "_reg4"}}, None, r"own.yaml: a: unknown base '_reg4'"),  # abstract: its own file's alone
        (
            {"a": {"base": "b"}, "b": {"base": "_c"}, "_c": {"base": "b"}},
            None,
            r": a: base goes in a circle: a -> b -> _c -> b",
        ),
        ({"a": {"base": "a"}}, None, r"base goes in a circle: a -> a"),
        ({"a": {"base": ["vit_ti16", "_x"]}}, None, r"own.yaml: a: unknown base '_x'"),
        ({"a": {"base": {"x": 1}}}, None, r"own.yaml: a: base is a name or a list of names, found {'x': 1}"),
        ({"a": {**MODEL, "patch": 8}}, None, r"a: unknown field 'patch'; did you mean patch_\w+ or patch_"),
        ({"a": {**MODEL, "colour": 8}}, None, r"own.yaml: a: unknown field 'colour'; the fields are act, "),
        ({"_a": {"depht": 8}}, None, r"own.yaml: _a: unknown field 'depht'; did you mean depth?"),
        ({"a": {**MODEL, "patch_size": 15}}, None, r"img_size 224x224 is not divisible by patch_size 15x15"),
        ({"a": {"hidden_dim": 8}}, None, r"own.yaml: a: depth: Field required"),
        ({"a": {**MODEL, "aliases": "b"}}, None, r"aliases is a list of names, found 'b'"),
        ({"a": {**MODEL, "aliases": ["vit_b16"]}}, None, r"own.yaml: a: the name 'vit_b16' belongs to vit_b16 already"),
        ({"a": {**MODEL, "aliases": ["vit_b_16"]}}, None, r"the name 'vit_b_16' belongs to "),
        ({"a.b": MODEL}, None, r"models.a.b.\[key\]: String should match pattern"),
        ({1: MODEL}, None, r"models.1.\[key\]: Input should be a valid string"),
        ({"a": None}, None, r"models.a: Input should be a valid"),
        (None, {"vit_b16": fields()}, r"weights.vit_b16.\[key\]: String should match pattern"),
        (
            None,
            {"vit_b16.x": fields(aliases=["google/vit-base-patch16-224"])},
            r"the name 'google/vit-base-patch16-224' belongs to vit_b16.hf_google_in21k_ft_in1k already",
        ),
        (
            None,
            {"vit_b16.x": fields(aliases=["vit_base_patch16_224.augreg_in21k"])},
            r"the name 'vit_base_patch16_224.augreg_in21k' belongs to vit_b16.augreg_in21k already",
        ),
        ({"vit_b_16": MODEL}, None, r"vit_b_16 is another name of vit_b16.tv_in1k_v1 already; choose another one"),
        (
            None,
            {"vit_b16.x": fields(timm="vit_base_patch16_224", layout="timm")},
            r"the name 'vit_base_patch16_224' belongs to vit_b16.augreg2",
        ),
        (
            None,
            {"_x": {"timm": "a"}, "vit_b16.x": {"base": "_x"}},
            r"timm names what one entry is in timm, .*'a'",
        ),
        (None, {"vit_b16.x": fields(params=7)}, r"params is 7, and the spec has 86567656; leave it out"),
        (None, {"vit_b16.x": fields(labels=["a", "b"], spec={"num_classes": 3})}, r"labels has 2 names, "),
        (None, {"vit_b16.x": fields(colour="red")}, r"own.yaml: vit_b16.x: unknown field 'colour'"),
        (None, {"vit_b16.x": fields(spec={"deep": 3})}, r"vit_b16.x: unknown field 'deep'; did you mean depth"),
        (
            None,
            {"vit_b16.x": fields(preprocessing={"crop": 1})},
            r"'preprocessing.crop'; did you mean crop_pct or crop_",
        ),
        (
            None,
            {"vit_b16.x": fields(sources=[{"repo": "a/b", "layout": "timm", "fil": "x"}])},
            r"unknown field 'sources.0.hub.fil'; did you mean file?",
        ),
        (None, {"vit_b16.x": fields(sources=[])}, r"vit_b16.x: sources: "),
        (None, {"vit_b16.x": fields(sources=[{"repo": "a/b"}])}, r"sources.0.hub.layout: Field required"),
        (None, {"vit_b16.x": fields(sources=[{"kind": "ftp", "layout": "timm"}])}, r"sources.0: .*'ftp'"),
        (None, {"vit_b16.x": fields(sources=["a/b"])}, r"sources.0: Input should be a valid dictionary"),
        (None, {"vit_b16.x": fields(resample="nearest")}, r"vit_b16.x: resample: Input should be 'timm', "),
    ],
)
def test_a_bad_registry_is_refused_whole(write: Write, models: object, weights: object, message: str) -> None:
    before = registry.list_models(), registry.list_pretrained()
    with pytest.raises(RegistryError, match=message):
        registry.add_registry(write({"good": MODEL, **(models or {})}, weights))  # type: ignore[dict-item]
    assert (registry.list_models(), registry.list_pretrained()) == before


def test_what_is_wrong_is_counted_in_one_line(write: Write) -> None:
    path = write({"a": {"base": "b"}, "c": {"base": "d"}}, {"a.x": fields(), "vit_b16.x": fields(colour="red")})
    with pytest.raises(RegistryError, match=r"'colour'.* \(and 2 more; `vitzoo registry check` lists them"):
        registry.add_registry(path)


def test_a_repository_may_be_shared_with_what_ships_and_keeps_its_name(write: Write) -> None:
    registry.add_registry(write(None, {"vit_b16.x": fields("google/vit-base-patch16-224")}))
    assert registry.resolve("google/vit-base-patch16-224").name == "vit_b16.hf_google_in21k_ft_in1k"
    assert registry.weights_entry("vit_b16.x").sources[0].layout == "timm"


def test_a_stated_alias_goes_before_an_implied_one(write: Write) -> None:
    path = write({"acme": MODEL}, {"acme.v1": fields(), "acme.v2": fields()})
    with pytest.raises(
        RegistryError, match=r"acme.v2: the name 'acme/tiny' belongs to acme.v1 already; give it to one"
    ):
        registry.add_registry(path)
    write({"acme": MODEL}, {"acme.v1": fields(), "acme.v2": fields(aliases=["acme/tiny"])})
    registry.add_registry(path)
    assert registry.resolve("acme/tiny").name == "acme.v2"


def test_inheritance_merges_mappings_and_replaces_lists(write: Write) -> None:
    base = fields(spec={"act": "silu"}, labels="imagenet-1k", aliases=["first"])
    own = {
        "base": "acme.v1",
        "sources": [{"kind": "url", "url": "https://acme.example/x.pth", "layout": "timm"}],
        "preprocessing": {"mean": [0.5, 0.5, 0.5]},
        "spec": {"num_classes": 7},
        "labels": None,
    }
    registry.add_registry(
        write({"acme": {**MODEL, "aliases": ["ac"]}, "acme2": {"base": "acme"}}, {"acme.v1": base, "acme.v2": own})
    )
    found, spec = registry.weights_entry("acme.v2"), registry.entry_spec("acme.v2")
    assert [source.kind for source in found.sources] == ["url"]
    assert (found.preprocessing.mean, found.preprocessing.crop_pct) == ((0.5, 0.5, 0.5), 0.9)
    assert (spec.num_classes, spec.act, found.labels, found.aliases) == (7, "silu", None, ())
    assert registry.resolve("first").name == "acme.v1"
    assert registry.model_spec("acme2") == registry.model_spec("acme")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "family: acme\nmodels:\n  a: {base: vit_b16}\n  a: {base: vit_b32}\n",
            r"own.yaml: line 4: 'a' is there twice",
        ),
        ("family: acme\nmodels:\n  a:\n    depth: 1\n    depth: 2\n", r"line 5: 'depth' is there twice"),
        ("family: acme\nmodels:\n  a: &a {base: vit_b16}\n  b: {<<: *a}\n", r"line 4: '<<' is not used here; use base"),
        ("family: [acme\nmodels: {}\n", r"own.yaml: line 2: "),
        ("family: !!python/object:os.system x\n", r"could not determine a constructor"),
        ("", r"own.yaml: Input should be a valid dictionary"),
        ("- family\n", r"own.yaml: Input should be a valid dictionary"),
        ("family: acme\nmodel: {}\n", r"unknown field 'model'; did you mean models?"),
        ("family: acme\nmodels:\n", r"own.yaml: models: Input should be a valid dictionary"),
        ("family: no\n", r"own.yaml: family: Input should be a valid string, found False"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(RegistryError, match=message):
        registry.add_registry(path)


def test_yaml_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(b"family: \xff\x00")
    with pytest.raises(RegistryError, match=r"own.yaml: "):
        registry.add_registry(tmp_path / "own.yaml")
    with pytest.raises(RegistryError, match=r"has no families/\*.yaml"):
        registry.add_registry(tmp_path)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("norm_eps", "1e-5", 1e-5),  # YAML 1.1 reads a string, for want of a dot
        ("hidden_dim", "1_92", 192),
        ("layer_scale", "1", 1.0),
        ("final_norm", "none", "none"),
    ],
)
def test_what_yaml_reads_otherwise_and_the_spec_repairs(tmp_path: Path, field: str, text: str, value: object) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"family: acme\nmodels:\n  acme: {{base: vit_ti16, {field}: {text}}}\n")
    registry.add_registry(path)
    assert getattr(registry.model_spec("acme"), field) == value


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("img_size", "0224", "line 3: '0224' is not decimal"),
        ("img_size", "3:44", "line 3: '3:44' is not decimal"),
        ("num_classes", "0o10", "acme: num_classes: Input should be a valid integer, .*found '0o10'"),
        ("act", "on", "acme: act: Input should be 'gelu', .*found True"),
        ("depth", "12.5", "acme: depth: Input should be a valid integer"),
    ],
)
def test_what_yaml_reads_otherwise_and_nobody_can_repair(tmp_path: Path, field: str, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"family: acme\nmodels:\n  acme: {{base: vit_ti16, {field}: {text}}}\n")
    with pytest.raises(RegistryError, match=message):
        registry.add_registry(path)


@pytest.mark.parametrize("digits", ["12345678", "01234567", "1.234567"])
def test_a_digest_that_yaml_reads_as_a_number(write: Write, digits: str) -> None:
    source = {"kind": "url", "url": "https://acme.example/x.pth", "layout": "timm", "sha256": "DIGITS"}
    path = write(None, {"vit_b16.x": fields(sources=[source])})
    path.write_text(path.read_text().replace("DIGITS", digits))
    with pytest.raises(RegistryError, match=r"is not decimal|sha256: Input should be a valid string"):
        registry.add_registry(path)
