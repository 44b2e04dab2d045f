"""The registry: its data against timm, torchvision and transformers; its rules against files that break them."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import timm
import torchvision
import yaml
from timm.models import _registry as timm_registry
from timm.models import get_arch_name, get_pretrained_cfg

from tools import schema
from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry import index, strict_yaml
from vitzoo.registry.describe import count_parameters
from vitzoo.registry.strict_yaml import data_dir
from vitzoo.spec import CropMode, HubSource, Resample, UrlSource

DATA = Path(__file__).parents[2] / "registry"
FAMILIES = ("vit", "deit")
# timm's entries that look like these families by name and are not: each pattern with the reason.
ELSEWHERE = {
    r"\.dino$|\.mae$": "trained by self-supervision: families of their own",
    r"_clip_|_siglip_|_plus_clip_": "the towers of image-text models",
    r"dinov[23]|_reg\d|_gap_|tipsv2|radio|lingbot|sapiens|_rope_|_map_|_pe_": "other prefix tokens, pools or positions",
    r"_rpn_|_xp_|18x2|_dwee_|_dpwee_|_dlittle_": "other blocks: timm's own family, or none",
    r"intern300m": "no norm at the end",
    r"relpos|_mci_|_r\d+_s\d+|_r_s\d+|resnet": "relative positions and convolutional stems",
}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    monkeypatch.setattr(index, "_loaded", index._registry())


def built_in() -> list[str]:
    names = [name for family in FAMILIES for name in read("weights", family)["weights"]]
    return [name for name in names if not name.startswith("_")]


@cache
def read(kind: str, family: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((DATA / kind / f"{family}.yaml").read_text(encoding="utf-8"))
    return data


@cache
def known_labels(name: str) -> tuple[str, ...] | None:
    """Reading timm's lists takes a second."""
    return registry.class_names(name)


def hub_repo(name: str) -> str:
    source = registry.weights_entry(name).sources[0]
    return source.repo if isinstance(source, HubSource) else ""


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
    for name in built_in():
        size, own = registry.entry_spec(name).img_size, registry.model_spec(name).img_size
        assert name.endswith(f"_{size[0]}") is (size != own), name


def timm_names() -> list[str]:
    names = [n for n in timm.list_pretrained() if re.match(r"(vit|deit)_", n)]
    return [name for name in names if not any(re.search(pattern, name) for pattern in ELSEWHERE)]


def test_no_timm_tag_is_forgotten() -> None:
    assert {hub_repo(n).removeprefix("timm/") for n in built_in() if hub_repo(n).startswith("timm/")} == set(
        timm_names()
    )


def test_no_exclusion_is_idle() -> None:
    names = [n for n in [*timm.list_pretrained(), *timm.list_models()] if re.match(r"(vit|deit)_", n)]
    for pattern in ELSEWHERE:
        assert any(re.search(pattern, name) for name in names), pattern


@pytest.mark.parametrize("timm_name", timm_names())
def test_entry_agrees_with_timm(timm_name: str) -> None:
    config = get_pretrained_cfg(timm_name)
    assert registry.resolve(timm_name) == registry.resolve(f"timm/{timm_name}") == registry.resolve(f"timm/{timm_name}")
    entry, spec = registry.weights_entry(timm_name), registry.entry_spec(timm_name)
    assert (spec.in_chans, *spec.img_size) == config.input_size
    assert spec.num_classes == config.num_classes
    assert entry.license == (config.license or "cc-by-4.0")  # timm states none for Bamboo
    assert config.license or "unconfirmed" in str(entry.note)
    preprocessing = entry.preprocessing
    assert (preprocessing.mean, preprocessing.std) == (config.mean, config.std)
    assert preprocessing.interpolation == config.interpolation
    assert preprocessing.crop_pct == config.crop_pct
    assert preprocessing.crop_mode == (config.crop_mode or "center")
    assert [source.url for source in entry.sources if isinstance(source, UrlSource)] == (
        [config.url] if config.url else []
    )
    tag = registry.resolve(timm_name).tag
    assert tag == config.tag or tag == f"{config.tag}_{spec.img_size[0]}"


@pytest.mark.parametrize("arch", sorted({get_arch_name(name) for name in timm_names()}))
def test_timm_arch_is_timms_default_and_so_is_the_model(arch: str) -> None:
    default = get_pretrained_cfg(arch)
    found = registry.resolve(arch)
    assert found == registry.resolve(f"{arch}.{default.tag}")
    if registry.entry_spec(arch).img_size == registry.model_spec(arch).img_size:
        assert registry.default_entry(found.model) == found.name


def test_timm_archs_without_weights_are_models() -> None:
    archs = [n for n in timm.list_models() if re.match(r"(vit|deit)_", n) and not timm.list_pretrained(f"{n}.*")]
    archs = [n for n in archs if not any(re.search(pattern, n) for pattern in ELSEWHERE)]
    assert len(archs) >= 6
    for arch in archs:
        model = registry.resolve(arch)
        assert model.tag is None
        assert registry.default_entry(model.model) is None
        assert registry.model_spec(arch).img_size == get_pretrained_cfg(arch).input_size[1:]


def test_timms_deprecated_names_resolve() -> None:
    known = set(timm_names())
    old = {name: target.replace(".sam", ".sam_in1k") for name, target in timm_registry._deprecated_models.items()}
    old = {name: target for name, target in old.items() if target in known}
    assert len(old) == 12
    for name, target in old.items():
        assert registry.resolve(name) == registry.resolve(target)


TORCHVISION = [
    weights
    for model in torchvision.models.list_models(include="vit_*")
    for weights in torchvision.models.get_model_weights(model)
]


@pytest.mark.parametrize("weights", TORCHVISION, ids=str)
def test_entry_agrees_with_torchvision(weights: Any) -> None:
    entry, spec = registry.weights_entry(str(weights)), registry.entry_spec(str(weights))
    transform, preprocessing = weights.transforms(), entry.preprocessing
    assert [spec.img_size[0]] == [weights.meta["min_size"][0]] == transform.crop_size
    assert spec.num_classes == len(weights.meta["categories"])
    assert entry.params == weights.meta["num_params"]
    assert int(spec.img_size[0] / preprocessing.crop_pct) == transform.resize_size[0]
    assert preprocessing.crop_mode is CropMode.CENTER
    assert preprocessing.interpolation == transform.interpolation.value
    assert (list(preprocessing.mean), list(preprocessing.std)) == (transform.mean, transform.std)
    assert entry.resample is Resample.TORCHVISION
    assert entry.license == ("cc-by-nc-4.0" if "SWAG" in weights.name else "bsd-3-clause")
    (source,) = entry.sources
    assert isinstance(source, UrlSource)
    assert source.url == weights.url
    assert weights.url.endswith(f"-{source.sha256}.pth")
    if weights is type(weights).DEFAULT:
        arch = type(weights).__name__.removesuffix("_Weights").lower()
        assert (
            registry.resolve(arch)
            == registry.resolve(f"{type(weights).__name__}.DEFAULT")
            == registry.resolve(str(weights))
        )


HF_NAMES = [n for n in registry.list_pretrained("vit_*") + registry.list_pretrained("deit_*") if ".hf_" in n]


@pytest.mark.parametrize("name", HF_NAMES)
def test_entry_agrees_with_transformers_defaults(name: str) -> None:
    from transformers import DeiTConfig, ViTConfig

    entry, spec = registry.weights_entry(name), registry.entry_spec(name)
    config = DeiTConfig() if spec.dist_token else ViTConfig()
    assert spec.norm_eps == config.layer_norm_eps == 1e-12
    assert spec.act == config.hidden_act
    assert entry.resample is Resample.HUGGINGFACE
    assert "Unconfirmed" in str(entry.note)
    assert registry.resolve(hub_repo(name)).name == name
    assert hub_repo(name).endswith(
        f"{spec.patch_size[0]}-{spec.img_size[0]}" + ("-in21k" if spec.head == "pre_logits" else "")
    )


def test_google_files_run_as_google_runs_them() -> None:
    names = registry.list_pretrained("*.google_in21k")
    assert len(names) == 5
    for name in names:
        spec, (source,) = registry.entry_spec(name), registry.weights_entry(name).sources
        assert (spec.act, spec.head, spec.norm_eps, spec.num_classes) == ("gelu_tanh", "pre_logits", 1e-6, 21843)
        assert source.layout == "google"


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
    assert registry.list_pretrained("*SWAG*") == []
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
        "params": 5_524_802,
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
    assert registry.list_models("acme*") == ["acme_ti16"]
    assert registry.resolve("acme").name == "acme_ti16"
    assert registry.resolve("acme/tiny").name == "acme_ti16.v1"
    assert registry.entry_spec("acme_ti16.v1") == registry.model_spec("vit_ti16").replace(num_classes=2)
    assert registry.default_entry("acme") == "acme_ti16.v1"
    assert registry.list_pretrained("vit_b16.*")[-1] == "vit_b16.acme"
    assert registry.default_entry("vit_b16") == "vit_b16.augreg2_in21k_ft_in1k"


def test_a_folder_laid_out_like_the_registry(write: Write, tmp_path: Path) -> None:
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
        (package / "models").mkdir(parents=True)
        (package / "models" / "acme.yaml").write_text(yaml.safe_dump({"family": "acme", "models": {"acme": MODEL}}))
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
        ({"vit_b16": MODEL}, None, r"own.yaml: vit_b16: .*models/vit.yaml has that name; choose another one"),
        (None, {"vit_b16.sam_in1k": fields()}, r"vit_b16.sam_in1k: .*weights/vit.yaml has that name"),
        (None, {"vit_b17.v1": fields()}, r"vit_b17.v1: there is no model 'vit_b17'; did you mean vit_b16,"),
        ({"a": {"base": "vit_b17"}}, None, r"own.yaml: a: unknown base 'vit_b17'; did you mean vit_b16,"),
        ({"a": {"base": "_tiny"}}, None, r"own.yaml: a: unknown base '_tiny'"),  # abstract: its own file's alone
        (
            {"a": {"base": "b"}, "b": {"base": "_c"}, "_c": {"base": "b"}},
            None,
            r": a: base goes in a circle: a -> b -> _c -> b",
        ),
        ({"a": {"base": "a"}}, None, r"base goes in a circle: a -> a"),
        ({"a": {**MODEL, "patch": 8}}, None, r"own.yaml: a: unknown field 'patch'; the fields are act, "),
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
            {"vit_b16.x": fields("google/vit-base-patch16-224")},
            r"the name 'google/vit-base-patch16-224' belongs to",
        ),
        (None, {"vit_b16.x": fields(colour="red")}, r"own.yaml: vit_b16.x: unknown field 'colour'"),
        (None, {"vit_b16.x": fields(spec={"deep": 3})}, r"own.yaml: vit_b16.x: unknown field 'deep'"),
        (None, {"vit_b16.x": fields(sources=[])}, r"vit_b16.x: sources: "),
        (
            None,
            {"vit_b16.x": fields(sources=[{"repo": "a/b", "layout": "timm"}])},
            r"sources.0: Unable to extract tag .*'kind'",
        ),
        (None, {"vit_b16.x": fields(resample="nearest")}, r"vit_b16.x: resample: Input should be 'timm', "),
    ],
)
def test_a_bad_registry_is_refused_whole(write: Write, models: object, weights: object, message: str) -> None:
    before = registry.list_models(), registry.list_pretrained()
    with pytest.raises(RegistryError, match=message):
        registry.add_registry(write({"good": MODEL, **(models or {})}, weights))  # type: ignore[dict-item]
    assert (registry.list_models(), registry.list_pretrained()) == before


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
    base = fields(spec={"num_classes": 5, "act": "silu"}, labels="imagenet-1k", aliases=["first"])
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
        ("models: {}\n", r"own.yaml: family: Field required"),
        ("family: acme\nmodel: {}\n", r"unknown field 'model'; the fields are about, family, models, "),
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
    with pytest.raises(RegistryError, match=r"has no models/\*.yaml and no weights/\*.yaml"):
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


# --- the files themselves


def test_where_the_files_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert data_dir() == DATA
    (tmp_path / "vitzoo" / "_registry").mkdir(parents=True)
    monkeypatch.setattr(strict_yaml, "__file__", str(tmp_path / "vitzoo" / "registry" / "strict_yaml.py"))
    assert data_dir() == tmp_path / "vitzoo" / "_registry"
    (tmp_path / "vitzoo" / "_registry").rmdir()
    with pytest.raises(RegistryError, match="install vitzoo again"):
        data_dir()


FILES = sorted([*DATA.glob("models/*.yaml"), *DATA.glob("weights/*.yaml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_files_match_the_json_schema(path: Path) -> None:
    name = f"{path.parent.name}.schema.json"
    validator = jsonschema.Draft202012Validator(json.loads((DATA / "schema" / name).read_text()))
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    validator.validate(data)
    assert data["family"] == path.stem
    assert path.read_text().startswith(f"# yaml-language-server: $schema=../schema/{name}\n")
    first = next(iter(data[path.parent.name].values()))
    first["colour"] = "red"
    assert not validator.is_valid(data)


@pytest.mark.parametrize(
    "change",
    [
        {"sources": [{"repo": "a/b", "layout": "timm"}]},
        {"sources": [{"kind": "url", "repo": "a/b", "layout": "timm"}]},
        {"spec": {"deep": 3}},
        {"resample": "nearest"},
        {"params": "many"},
    ],
)
def test_the_json_schema_refuses_what_the_spec_refuses(change: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema.schemas()["weights.schema.json"])
    assert validator.is_valid({"family": "a", "weights": {"vit_b16.x": fields()}})
    assert not validator.is_valid({"family": "a", "weights": {"vit_b16.x": fields(**change)}})


def test_the_json_schemas_are_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert schema.main(["--check"]) == 0
    monkeypatch.setattr(schema, "FOLDER", tmp_path / "schema")
    assert schema.main(["--check"]) == 1
    assert "models.schema.json is not up to date; run `python -m tools.schema`" in capsys.readouterr().out
    assert schema.main([]) == 0
    assert schema.main(["--check"]) == 0
    for text in schema.schemas().values():
        jsonschema.Draft202012Validator.check_schema(text)


def test_nothing_imports_torch() -> None:
    code = (
        "import sys; from vitzoo import registry; "
        "[registry.entry_spec(n) for n in registry.list_pretrained()]; registry.resolve('vit_b_16'); "
        "print([m for m in ('torch', 'timm', 'torchvision', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DATA.parent)
    assert done.stdout.strip() == "[]"


def test_the_examples_of_the_docs(tmp_path: Path) -> None:
    text = (DATA.parent / "docs" / "registry.md").read_text(encoding="utf-8")
    for kind, example in zip(("models", "weights"), re.findall(r"```yaml\n(.*?)```", text, re.DOTALL), strict=True):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "acme.yaml").write_text(example)
        validator = jsonschema.Draft202012Validator(schema.schemas()[f"{kind}.schema.json"])
        validator.validate(yaml.safe_load(example))
    registry.add_registry(tmp_path)
    for name in registry.list_pretrained("acme*"):
        assert registry.weights_entry(name).params == count_parameters(registry.entry_spec(name))
    table = text[text.index("| You have") : text.index("The tag says")]
    for row in table.splitlines()[2:-1]:
        *names, expected = re.findall(r"`([^`]+)`", row)
        for name in names:
            assert name.endswith((":", "/")) or registry.resolve(name).name == expected
