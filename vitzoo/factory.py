"""A name, a hub id, a file or a spec becomes a ViT."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import torch

from vitzoo import registry
from vitzoo.errors import SpecError
from vitzoo.identify import identified
from vitzoo.model import ViT
from vitzoo.spec import Preprocessing, Resample, ViTSpec, is_file
from vitzoo.weights.load import load
from vitzoo.weights.sources import HUB

# timm's names for what the spec calls otherwise.
POOL_NAMES = {"token": "cls"}


def create(
    model: str | os.PathLike[str] | ViTSpec,
    *,
    pretrained: bool = False,
    layout: str | None = None,
    like: str | None = None,
    resample: Resample | str | None = None,
    allow_licenses: Collection[str] | None = None,
    eager: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    generator: torch.Generator | int | None = None,
    **changes: Any,
) -> ViT:
    """Build a ViT.

    Args:
        model: a model (`vit_b16`) or weights (`vit_b16.augreg_in21k`) of the registry, any of their aliases,
            `hf-hub:org/repo@revision`, a checkpoint file or folder in any layout, the address of such a file
            (`hf://org/repo/file@revision`, `https://host/file#sha256=digest`), or a `ViTSpec`.
        pretrained: load the weights that the name stands for; a model's first entry if the name has no tag. A file is
            always loaded.
        layout: how a checkpoint file names its tensors; found out if not given (`vitzoo.layouts.tables` has the names).
        like: a model or weights of the registry whose architecture a checkpoint file has, for what tensors do not show.
        resample: the policy for position tables; that of the weights if not given.
        allow_licenses: the licences of weights that may be used; if not given, those that the environment variable
            VITZOO_ALLOW_LICENSES names, and all if it is not set. A licence that restricts the use is warned of once.
        eager: read the whole file into memory at once, for network disks on which mapped files are slow.
        device, dtype: of the parameters; the CPU and torch's default type if not given.
        generator: a torch generator or a seed for whatever is initialised.
        **changes: any field of the spec, such as `num_classes`, `in_chans`, `img_size`, `patch_size`, `pool` (or timm's
            `global_pool`) and `drop_path_rate`. Weights are adapted to them; `load_report` of the model says how. For a
            checkpoint file, also what its tensors do not show, such as `num_heads`; a field that contradicts them is
            an error.

    Returns:
        The model in evaluation mode.

    Raises:
        RegistryError: an unknown name, with the nearest known ones.
        SpecError: a field that does not exist, or values that do not go together.
        LicenseError: weights under a licence that is not allowed.
        WeightsError, LayoutError: weights that cannot be found or read, or that do not fit.
    """
    changes = _spec_names(changes)
    policy = None if resample is None else _policy(resample)
    if isinstance(model, ViTSpec):
        built = _fresh(model.replace(**changes), Preprocessing(), policy or Resample.TIMM, generator)
    elif pretrained or is_file(model) or str(model).startswith(HUB):
        found = identified(model, changes, layout, like, {"eager": eager}, allow_licenses)
        target = found.spec.replace(**found.changes)
        built = load(
            found.file, found.layout, found.spec, target, found.preprocessing, policy or found.resample, generator
        )
        built.labels = found.labels if target.num_classes == found.spec.num_classes else None
        built.license, built.origin = found.license, found.origin
        built.load_report.because = found.because
    else:
        built = _untrained(str(model), policy, changes, generator)
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


def _untrained(
    name: str, policy: Resample | None, changes: Mapping[str, Any], generator: torch.Generator | int | None
) -> ViT:
    """A model of the registry, with the preprocessing and the policy of its weights if the name has a tag."""
    found = registry.resolve(name)
    if found.tag is None:
        spec, preprocessing, resample = registry.model_spec(found.model), Preprocessing(), Resample.TIMM
    else:
        entry = registry.weights_entry(found.name)
        spec, preprocessing, resample = registry.entry_spec(found.name), entry.preprocessing, entry.resample
    return _fresh(spec.replace(**changes), preprocessing, policy or resample, generator)
