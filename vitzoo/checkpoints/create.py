"""A name, a hub id, a file or a spec becomes a ViT."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import torch

from vitzoo import registry
from vitzoo.checkpoints.identify import Identified, about_entry, identified
from vitzoo.checkpoints.load import load
from vitzoo.errors import SpecError
from vitzoo.files.read import Reading
from vitzoo.model import TimmDialect
from vitzoo.registry.reference import Name, Typed, parse
from vitzoo.spec import NEW, About, Resample, ViTSpec

M = TypeVar("M", bound=TimmDialect)

# timm's names for what the spec calls otherwise.
POOL_NAMES = {"token": "cls"}


def build(
    kind: type[M],
    /,
    model: Typed | ViTSpec,
    *,
    pretrained: bool = False,
    layout: str | None = None,
    like: str | None = None,
    resample: Resample | str | None = None,
    allow_licenses: Collection[str] | None = None,
    eager: bool = False,
    wrapper: str | None = None,
    prefix: str | None = None,
    drop: Sequence[str] = (),
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    generator: torch.Generator | int | None = None,
    **changes: Any,
) -> M:
    """Build a ViT of the class `kind`; `vitzoo.create` is this with `ViT`.

    Args:
        model: a model (`vit_b16`) or weights (`vit_b16.augreg_in21k`) of the registry, any of their aliases,
            `hf-hub:org/repo@revision`, a checkpoint file or folder in any layout, the address of such a file
            (`hf://org/repo/file@revision`, `https://host/file#sha256=digest`), or a `ViTSpec`.
        pretrained: load the weights that the name stands for; a model's first entry if the name has no tag. A file is
            always loaded.
        layout: how a checkpoint file names its tensors; found out if not given (`vitzoo.layouts.tables` has the names).
        like: a model or weights of the registry whose architecture a checkpoint file has, for what tensors do not show.
        resample: the policy for position tables; that of the weights if not given. Where that is not known, another
            size than theirs is an error.
        allow_licenses: the licences of weights that may be used; if not given, those that the environment variable
            VITZOO_ALLOW_LICENSES names, and all if it is not set. A licence that restricts the use is warned of once.
        wrapper: the entry of a training checkpoint that holds the weights ("ema", "model.encoder"); found if not given.
        prefix: what stands in front of the names of the model's tensors in a checkpoint; found if not given.
        drop: tensors of a checkpoint to leave out, by their names in it; `*` stands for any text.
        eager: read the whole file into memory at once, for network disks on which mapped files are slow.
        device, dtype: of the parameters; the CPU and torch's default type if not given. On "meta" nothing is computed
            and no tensor of a file is read.
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
    policy = {} if resample is None else {"resample": _policy(resample)}
    place = torch.device("cpu" if device is None else device)
    if isinstance(model, ViTSpec):
        built = _fresh(kind, model.replace(**changes), NEW.replace(**policy), place, generator)
    elif isinstance(reference := parse(model), Name) and reference.repo is None and not pretrained:
        spec, about = _registered(reference.name)
        built = _fresh(kind, spec.replace(**changes), about.replace(**policy), place, generator)
    else:
        reading = Reading(eager=eager, wrapper=wrapper, drop=drop)
        found = identified(reference, changes, layout, like, reading, allow_licenses, prefix)
        found.about = found.about.replace(**policy)
        built = _loaded(kind, found, place, generator)
    return built.to(device=place, dtype=dtype or torch.get_default_dtype()).eval()


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
    kind: type[M],
    spec: ViTSpec,
    about: About,
    device: torch.device,
    generator: torch.Generator | int | None,
) -> M:
    """A model with new weights, drawn on the device that it is for; on the meta device there is nothing to draw."""
    with device:
        model = kind(spec, about)
    return model if device.type == "meta" else model.init_weights(generator)


def _loaded(
    kind: type[M],
    found: Identified,
    device: torch.device,
    generator: torch.Generator | int | None,
) -> M:
    """A model with the weights of a checkpoint."""
    target = found.spec.replace(**found.changes)
    tensors = found.tensors(blank=device.type == "meta")
    same = (target.num_classes, target.out_dim) == (found.spec.num_classes, found.spec.out_dim)
    about = found.about if same else found.about.headless()
    model = load(kind, tensors, target, about, device, generator)
    model.load_report.because = (*tensors.said, *found.because)
    return model


def _registered(name: str) -> tuple[ViTSpec, About]:
    """A model of the registry, with the preprocessing and the policy of its weights if the name has a tag."""
    found = registry.resolve(name)
    if found.tag is None:
        return registry.model_spec(found.model), NEW
    known = about_entry(found.name)
    return registry.entry_spec(found.name), NEW.replace(preprocessing=known.preprocessing, resample=known.resample)
