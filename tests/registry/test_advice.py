"""What errors of names, registries, licences and recipes say to do is done: the same works after it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from advice import check, remedy

from vitzoo import registry
from vitzoo.errors import LicenseError, RegistryError
from vitzoo.registry import index
from vitzoo.registry.describe import info
from vitzoo.registry.digests import read_digests, with_digest
from vitzoo.registry.label_sets import class_names, known_set
from vitzoo.registry.licenses import check_license, license_to_publish
from vitzoo.registry.recipes import load_recipe
from vitzoo.registry.reference import at, named, parse
from vitzoo.registry.shipped import DIGESTS
from vitzoo.spec import About, Origin

WEIGHTS = {
    "license": "mit",
    "preprocessing": {},
    "resample": "timm",
    "sources": [{"repo": "acme/one", "layout": "timm"}],
}
MODEL = {"hidden_dim": 32, "depth": 2, "num_heads": 4, "mlp_dim": 48}
Step = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    monkeypatch.setattr(index, "_loaded", index._registry())


def add(folder: Path, text: str | None = None, **content: Any) -> None:
    path = folder / f"acme{len(list(folder.iterdir()))}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False) if text is None else text)
    registry.add_registry(path)


def models(folder: Path, **fields: Any) -> None:
    add(folder, models={"acme": {**MODEL, **fields}})


def weights(folder: Path, name: str = "acme.one", **fields: Any) -> None:
    add(folder, models={"acme": {**MODEL, "num_classes": 3}}, weights={name: {**WEIGHTS, **fields}})


def hosted(folder: Path, name: str) -> None:
    own = {key: WEIGHTS[key] for key in ("license", "preprocessing", "resample")}
    models = {"acme": {**MODEL, "num_classes": 3}}
    add(folder, layout="timm", models=models, weights={"acme.one": {**own, "timm": name}})


def recipe(folder: Path, text: str) -> Any:
    path = folder / "own.yaml"
    path.write_text(text)
    return load_recipe(path)


def empty(folder: Path) -> Path:
    (folder / "registry" / "families").mkdir(parents=True)
    return folder / "registry"


def fields(**given: Any) -> Any:
    return load_recipe("adamw_layer_decay", **given)


def stated(folder: Path, sha256: str) -> Path:
    """A registry's folder with the digest of one file."""
    said = {"hf://org/own/model.safetensors": {"sha256": sha256, "stated": "by its owner"}}
    (folder / DIGESTS).write_text(json.dumps({"format": 1, "files": said}))
    return folder


def typed(right: str) -> Step:
    return lambda p: parse(right)


CASES = [
    remedy(
        "; mend the file, or take it away",
        lambda p: read_digests(stated(p, "x")),
        lambda p: read_digests(stated(p, "0" * 64)),
        file="registry/digests.py",
    ),
    remedy(
        "; mend one of the two",
        lambda p: with_digest({"repo": "org/own", "sha256": "1" * 64}, read_digests(stated(p, "0" * 64)), "own"),
        lambda p: with_digest({"repo": "org/own", "sha256": "0" * 64}, read_digests(stated(p, "0" * 64)), "own"),
        file="registry/digests.py",
    ),
    remedy(
        "; let one be balanced",
        lambda p: fields(sampling="balanced", class_weights="balanced"),
        lambda p: fields(sampling="balanced"),
    ),
    remedy(
        "; set that task, or leave grades out",
        lambda p: fields(grades=["low", "high"]),
        lambda p: (fields(grades=["low", "high"], task="ordinal"), fields()),
    ),
    remedy(
        ": there is no model '",
        lambda p: weights(p, "acme_two.one"),
        lambda p: weights(p, "acme.one"),
    ),
    remedy(": unknown base '", lambda p: models(p, base="_tii"), lambda p: models(p, base="_ti")),
    remedy(
        ": base goes in a circle: ",
        lambda p: add(p, models={"acme": {**MODEL, "base": "_own"}, "_own": {"base": "_own"}}),
        lambda p: add(p, models={"acme": {**MODEL, "base": "_own"}, "_own": {}}),
        file="registry/families.py",
    ),
    remedy(": base is a name or a list of names", lambda p: models(p, base=3), lambda p: models(p, base=["_ti"])),
    remedy(": aliases is a list of names", lambda p: models(p, aliases="own"), lambda p: models(p, aliases=["own"])),
    remedy(
        ": timm names what one entry is in timm, arch or arch.tag",
        lambda p: weights(p, timm=3),
        lambda p: hosted(p, "vit_own.one"),
    ),
    remedy("; leave it out", lambda p: weights(p, params=3), lambda p: weights(p), file="registry/families.py"),
    remedy(
        " names, and num_classes is ",
        lambda p: weights(p, labels=["a", "b"], spec={"num_classes": 3}),
        lambda p: weights(p, labels=["a", "b", "c"], spec={"num_classes": 3}),
    ),
    remedy(
        "unknown tag '",
        lambda p: registry.resolve("vit_b16.augreg"),
        lambda p: registry.resolve("vit_b16.augreg_in21k"),
    ),
    remedy("unknown model '", lambda p: registry.resolve("vit_b17"), lambda p: registry.resolve("vit_b16")),
    remedy(
        "' is a model, not its weights; ",
        lambda p: registry.weights_entry("vit_b16"),
        lambda p: registry.weights_entry("vit_b16.augreg_in21k"),
    ),
    remedy(
        " has no families/*.yaml; put one there, or give the path of the file",
        lambda p: registry.add_registry(empty(p)),
        lambda p: (
            (p / "registry" / "families" / "acme.yaml").write_text(yaml.safe_dump({"models": {"acme": MODEL}})),
            registry.add_registry(p / "registry"),
        ),
    ),
    remedy(", or give the list of names instead", lambda p: known_set("own"), lambda p: class_names(("a", "b"))),
    remedy(
        "; choose other weights (`vitzoo list --license ...`), or ",
        lambda p: check_license("acme.one", "cc-by-nc-4.0", ["mit"]),
        lambda p: (
            check_license("acme.one", "mit", ["mit"]),
            check_license("acme.one", "cc-by-nc-4.0", ["mit", "cc-by-nc-4.0"]),
            registry.list_pretrained(license="mit"),
        ),
    ),
    remedy(
        "no licence of these weights is known",
        lambda p: license_to_publish(About()),
        lambda p: license_to_publish(About(), "apache-2.0"),
    ),
    remedy(
        "the hub knows no licence '",
        lambda p: license_to_publish(About(), "apache-2"),
        lambda p: license_to_publish(About(), "apache-2.0"),
    ),
    remedy(
        " is a checkpoint and not a name in the registry",
        lambda p: info("./own.pth"),
        lambda p: info("vit_b16"),
    ),
    remedy(
        "fallback_lr belongs to optimizer 'muon'",
        lambda p: fields(fallback_lr=1e-3),
        lambda p: (fields(), fields(fallback_lr=1e-3, optimizer="muon")),
    ),
    remedy(
        "crop_padding and crop_scale exclude each other; give crop_scale: null",
        lambda p: fields(crop_padding=4, crop_scale=(0.5, 1.0)),
        lambda p: fields(crop_padding=4, crop_scale=None),
    ),
    remedy(
        " is odd; make it even",
        lambda p: fields(mixup=0.1, batch_size=3),
        lambda p: fields(mixup=0.1, batch_size=4),
    ),
    remedy(
        " epochs; lower it",
        lambda p: fields(epochs=3, warmup_epochs=3),
        lambda p: fields(epochs=3, warmup_epochs=1),
    ),
    remedy(" is higher than lr ", lambda p: fields(lr=1e-4, min_lr=1e-3), lambda p: fields(lr=1e-4, min_lr=1e-5)),
    remedy(
        "layer_decay is for trainable 'full' or 'last-N'",
        lambda p: fields(trainable="head", layer_decay=0.5),
        lambda p: (fields(trainable="head", layer_decay=1), fields(trainable="full", layer_decay=0.5)),
    ),
    remedy(
        "' would leave random weights as they are; use 'full'",
        lambda p: fields(trainable="head", layer_decay=1, pretrained=False),
        lambda p: fields(trainable="full", layer_decay=1, pretrained=False),
    ),
    remedy(
        "' (a file's name ends in .yaml); ",
        lambda p: load_recipe("adamw_layer_deca"),
        lambda p: load_recipe("adamw_layer_decay"),
    ),
    remedy(
        ": base goes in a circle: ",
        lambda p: recipe(p, "base: own.yaml\n"),
        lambda p: recipe(p, "base: adamw_layer_decay\n"),
        file="registry/recipes.py",
    ),
    remedy(
        ": expected the fields of a recipe as a mapping, found ",
        lambda p: recipe(p, "[1]"),
        lambda p: recipe(p, "base: adamw_layer_decay\n"),
    ),
    remedy("expected a model's name, a file, a repository or an address", lambda p: parse(""), typed("vit_b16")),
    remedy(
        "' is not a name in the registry; `vitzoo list` shows the names", lambda p: named("./x.pth"), typed("vit_b16")
    ),
    remedy(
        "has revisions; leave revision out",
        lambda p: at(parse("./x.pth"), "main"),
        lambda p: (parse("./x.pth"), at(parse("org/name"), "main")),
    ),
    remedy(
        " has one; leave one of the two out",
        lambda p: at(parse("org/name@v1"), "v2"),
        lambda p: (at(parse("org/name"), "v2"), parse("org/name@v1")),
    ),
    remedy("or hf://org/repo/file for one file", lambda p: parse("hf-hub:a/b/c.pth"), typed("hf://a/b/c.pth")),
    remedy("expected hf://org/repo/file@revision", lambda p: parse("hf://a"), typed("hf://a/b/c.pth@main")),
    remedy("expected hf://org/repo/file or https://host/file", lambda p: parse("ftp://a/b"), typed("https://a/b.pth")),
    remedy("; expected https://host/file", lambda p: parse("https://a"), typed("https://a/b.pth")),
    remedy(
        "': expected #sha256= and all 64 digits of the file's digest",
        lambda p: parse("https://a/b.pth#md5=00"),
        lambda p: (parse("https://a/b.pth"), parse(f"https://a/b.pth#sha256={'0' * 64}")),
    ),
    remedy(
        "; write one of them as it stands here",
        lambda p: parse("VIT-BASE-PATCH16-224"),
        lambda p: (parse("google/vit-base-patch16-224"), parse("vit_base_patch16_224")),
    ),
]


@pytest.mark.parametrize(("fails", "works"), CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_the_error_says_works(fails: Step, works: Step, tmp_path: Path) -> None:
    check(fails, works, tmp_path)


@pytest.mark.follows(", which restricts the use of all that is made from it, and '")
def test_a_licence_that_binds() -> None:
    base = About(license="dinov3-license", origin=Origin(name="dinov3_s16.lvd1689m"))
    with pytest.raises(LicenseError, match=r"leave it out, or set model\.license = ") as error:
        license_to_publish(base, "mit")
    stated = re.search(r"model.license = '([^']*)'", str(error.value))
    assert stated is not None
    license_to_publish(base)
    license_to_publish(base.replace(license=stated[1]), stated[1])
    own = base.replace(license="mit", origin=None, derived_from=None)
    assert license_to_publish(own, "mit") == "mit"


@pytest.mark.follows(" gives no path: ")
def test_a_package_whose_registry_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Path:
        raise OSError("no such folder")

    point = SimpleNamespace(name="acme", value="acme:path", load=lambda: broken)
    mended = SimpleNamespace(name="acme", value="acme:path", load=lambda: lambda: tmp_path)
    check(lambda: index._entry_point_path(point), lambda: index._entry_point_path(mended))  # type: ignore[arg-type]
    assert list(index._user_paths()) == []  # uninstalled


def test_yaml_is_mended_where_the_error_says(tmp_path: Path) -> None:
    """Not a file of YAML, a file that is not there, and one that is no text: each by its name and why."""
    for make, why in (
        (lambda path: path.write_text("models: [}"), "line 1: "),
        (lambda path: path.unlink(missing_ok=True), "cannot be read: No such file"),
        (lambda path: path.write_bytes(bytes([255])), "unacceptable character"),
    ):
        path = tmp_path / f"acme{len(why)}.yaml"
        make(path)
        with pytest.raises(RegistryError, match=why):
            registry.add_registry(path)
        path.write_text(yaml.safe_dump({"models": {f"acme{len(why)}": MODEL}}))
        registry.add_registry(path)
