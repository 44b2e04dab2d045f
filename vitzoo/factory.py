"""A name, a hub id, a file or a spec becomes a ViT."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vitzoo import registry
from vitzoo.errors import RegistryError, SpecError, WeightsError
from vitzoo.model import ViT
from vitzoo.spec import HubSource, Preprocessing, Resample, ViTSpec, WeightsEntry, is_file
from vitzoo.weights.files import open_tensors, read_metadata
from vitzoo.weights.load import load
from vitzoo.weights.sources import fetch

# timm's names for what the spec calls otherwise.
POOL_NAMES = {"token": "cls"}
HUB = "hf-hub:"


def create(
    model: str | os.PathLike[str] | ViTSpec,
    *,
    pretrained: bool = False,
    layout: str | None = None,
    resample: Resample | str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    generator: torch.Generator | int | None = None,
    **changes: Any,
) -> ViT:
    """Build a ViT.

    Args:
        model: a model (`vit_b16`) or weights (`vit_b16.augreg_in21k`) of the registry, any of their aliases,
            `hf-hub:org/repo@revision` whose repository the registry knows or holds a native `model.safetensors`, a file
            or folder written by `vitzoo.save`, another checkpoint file together with `layout` and the spec's fields,
            or a `ViTSpec`.
        pretrained: load the weights that the name stands for; a model's first entry if the name has no tag. A file is
            always loaded.
        layout: how a checkpoint file names its tensors; a native file says so itself.
        resample: the policy for position tables; that of the weights if not given.
        device, dtype: of the parameters; the CPU and torch's default type if not given.
        generator: a torch generator or a seed for whatever is initialised.
        **changes: any field of the spec, such as `num_classes`, `in_chans`, `img_size`, `patch_size`, `pool` (or timm's
            `global_pool`) and `drop_path_rate`. Weights are adapted to them; `load_report` of the model says how.

    Returns:
        The model in evaluation mode.

    Raises:
        RegistryError: an unknown name, with the nearest known ones.
        SpecError: a field that does not exist, or values that do not go together.
        WeightsError, LayoutError: weights that cannot be found or read, or that do not fit.
    """
    changes = _spec_names(changes)
    policy = None if resample is None else _policy(resample)
    if isinstance(model, ViTSpec):
        built = _fresh(model.replace(**changes), Preprocessing(), policy or Resample.TIMM, generator)
    elif is_file(model):
        built = _from_file(Path(model), layout, policy, changes, generator)
    elif str(model).startswith(HUB):
        built = _from_hub(str(model), layout, pretrained, policy, changes, generator)
    else:
        built = _from_registry(str(model), pretrained, policy, changes, generator)
    return built.to(device=device, dtype=dtype or torch.get_default_dtype()).eval()


def _spec_names(changes: Mapping[str, Any]) -> dict[str, Any]:
    changes = dict(changes)
    if "global_pool" in changes:
        if "pool" in changes:
            raise SpecError("pool and global_pool are the same field; give one of them")
        name = changes.pop("global_pool")
        changes["pool"] = POOL_NAMES.get(name, name)
    return changes


def _policy(name: Resample | str) -> Resample:
    try:
        return Resample(name)
    except ValueError:
        raise SpecError(f"unknown resample policy '{name}'; the policies are {', '.join(Resample)}") from None


def _fresh(
    spec: ViTSpec, preprocessing: Preprocessing, resample: Resample, generator: torch.Generator | int | None
) -> ViT:
    return ViT(spec, preprocessing, resample).init_weights(generator)


def _from_registry(
    name: str,
    pretrained: bool,
    policy: Resample | None,
    changes: Mapping[str, Any],
    generator: torch.Generator | int | None,
    revision: str | None = None,
) -> ViT:
    found = registry.resolve(name)
    tag = found.tag
    if tag is None and pretrained:
        default = registry.default_entry(found.model)
        if default is None:
            raise RegistryError(f"model '{found.model}' has no pretrained weights; create it with pretrained=False")
        tag = default.partition(".")[2]
    if tag is None:
        return _fresh(
            registry.model_spec(found.model).replace(**changes), Preprocessing(), policy or Resample.TIMM, generator
        )
    full = f"{found.model}.{tag}"
    entry, spec = registry.weights_entry(full), registry.entry_spec(full)
    policy = policy or entry.resample
    if not pretrained:
        return _fresh(spec.replace(**changes), entry.preprocessing, policy, generator)
    source = entry.sources[0]
    if revision is not None and isinstance(source, HubSource):
        source = source.model_copy(update={"revision": revision, "sha256": None})
    file = open_tensors(fetch(source))
    target = spec.replace(**changes)
    built = load(file, source.layout, spec, target, entry.preprocessing, policy, generator)
    _describe(built, full, entry, keep_labels=target.num_classes == spec.num_classes)
    return built


def _from_hub(
    name: str,
    layout: str | None,
    pretrained: bool,
    policy: Resample | None,
    changes: dict[str, Any],
    generator: torch.Generator | int | None,
) -> ViT:
    repo, _, revision = name.removeprefix(HUB).partition("@")
    try:
        registry.resolve(repo)
    except RegistryError:
        path = fetch(HubSource(repo=repo, revision=revision or None, sha256=None, layout=layout or "vitzoo"))
        return _from_file(path, layout, policy, changes, generator)
    return _from_registry(repo, pretrained, policy, changes, generator, revision or None)


def _describe(built: ViT, name: str, entry: WeightsEntry, keep_labels: bool) -> None:
    built.license, built.origin = entry.license, name
    # Known sets of names come from timm, which takes longer to import than a model takes to load.
    built.labels = partial(registry.labels, entry) if keep_labels else None


def _from_file(
    path: Path,
    layout: str | None,
    policy: Resample | None,
    changes: dict[str, Any],
    generator: torch.Generator | int | None,
) -> ViT:
    if path.is_dir():
        path = path / "model.safetensors"
    file = open_tensors(path)
    about = read_metadata(path)
    if about is not None:
        if layout not in (None, "vitzoo"):
            raise WeightsError(f"{path} is a native file; leave layout='{layout}' out")
        spec = ViTSpec.parse(_mapping(about, "spec", path), str(path))
        preprocessing = Preprocessing.parse(_mapping(about, "preprocessing", path), str(path))
        target = spec.replace(**changes)
        stored = about.get("resample")
        if stored not in list(Resample):
            raise WeightsError(
                f"{path}: the metadata of this native file has the resample policy {stored!r}; "
                f"the policies are {', '.join(Resample)}"
            )
        built = load(file, "vitzoo", spec, target, preprocessing, policy or Resample(str(stored)), generator)
        labels = about.get("labels")
        built.labels = tuple(labels) if isinstance(labels, list) and target.num_classes == spec.num_classes else None
        built.license, built.origin = (None if about.get(k) is None else str(about[k]) for k in ("license", "origin"))
        return built
    if layout is None:
        raise WeightsError(
            f"{path} is not a native file and does not say what it holds; "
            "give its layout and the fields of its spec: create(path, layout='timm', hidden_dim=768, ...)"
        )
    spec = ViTSpec.parse(changes, str(path))
    return load(file, layout, spec, spec, Preprocessing(), policy or Resample.TIMM, generator)


def _mapping(about: Mapping[str, object], key: str, path: Path) -> Mapping[str, Any]:
    value = about.get(key)
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: the metadata of this native file has no '{key}'; write it again with vitzoo.save")
    return value
