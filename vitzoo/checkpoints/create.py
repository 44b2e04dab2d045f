"""A name, a hub id, a file or a spec becomes a ViT."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import torch

from vitzoo import registry
from vitzoo.checkpoints.identify import Identified, about_entry, identified
from vitzoo.checkpoints.load import load
from vitzoo.checkpoints.tensors import computes, dtype_of
from vitzoo.errors import SpecError
from vitzoo.files.read import Reading
from vitzoo.model import TimmDialect
from vitzoo.registry.reference import Name, Typed, parse
from vitzoo.spec import NEW, About, Resample, ViTSpec
from vitzoo.spec.keywords import unknown_field

M = TypeVar("M", bound=TimmDialect)

# timm's names for what the spec calls otherwise.
ARGUMENTS = (
    "pretrained",
    "layout",
    "like",
    "resample",
    "allow_licenses",
    "eager",
    "wrapper",
    "prefix",
    "drop",
    "device",
    "dtype",
    "generator",
)
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
    dtype: torch.dtype | str | None = None,
    generator: torch.Generator | int | None = None,
    **changes: Any,
) -> M:
    """Build a ViT of the class `kind`, in evaluation mode; `vitzoo.create` is this with `ViT`.

    Args:
        model: weights (`vit_b16.augreg_in21k`) or a model (`vit_b16`) of the registry, or an alias; a checkpoint file
            or folder in any layout, its address (`hf-hub:org/repo@revision`, `hf://org/repo/file@revision`,
            `https://host/file#sha256=digest`); or a `ViTSpec`.
        pretrained: load the weights that a name stands for, a model's first without a tag. A file is always loaded.
        layout: how a checkpoint file names its tensors; found out if not given (`vitzoo.layouts.tables` has the names).
        like: a model or weights of the registry whose architecture a checkpoint file has, for what tensors do not show.
        resample: the policy for position tables; that of the weights if not given, which may not be known.
        allow_licenses: the licences of weights that may be used; if not given, those that VITZOO_ALLOW_LICENSES names,
            and all if the environment has no such variable. A licence that restricts the use is warned of once.
        wrapper: the entry of a training checkpoint that holds the weights ("ema", "model.encoder"); found if not given.
        prefix: what stands in front of the names of the model's tensors in a checkpoint; found if not given.
        drop: tensors of a checkpoint to leave out, by their names in it; `*` stands for any text.
        eager: read the whole file into memory at once, for network disks on which mapped files are slow.
        device, dtype: of the parameters; the CPU and torch's default type if not given. On "meta" nothing is computed.
        generator: a torch generator or a seed for whatever is initialised.
        **changes: any field of the spec, such as `num_classes`, `img_size`, `pool` (or timm's `global_pool`); of a file
            also what its tensors do not show, such as `num_heads`. `load_report` says what was adapted to them.

    Raises:
        RegistryError: an unknown name, with the nearest known ones.
        SpecError: a field that does not exist, or values that do not go together.
        LicenseError, WeightsError, LayoutError: weights that are not allowed, cannot be had or read, or do not fit.
    """
    changes, policy = _spec_names(changes), _policy(resample)
    number = dtype_of(dtype) or torch.get_default_dtype()
    place = torch.device("cpu" if device is None else device)
    if isinstance(model, ViTSpec):
        built = _fresh(kind, model.replace(**changes), NEW.replace(**policy), place, generator)
    elif isinstance(reference := parse(model), Name) and reference.repo is None and not pretrained:
        if wrapper or prefix or drop:
            raise SpecError(
                f"wrapper, prefix and drop say how a file is read, and {reference.name} is built without one"
            )
        spec, about = _registered(reference.name)
        built = _fresh(kind, spec.replace(**changes), about.replace(**policy), place, generator)
    else:
        reading = Reading(eager=eager, wrapper=wrapper, drop=drop)
        found = identified(reference, changes, layout, like, reading, allow_licenses, prefix)
        built = _loaded(kind, found, policy, place, generator)
    return built.to(device=place, dtype=number).eval()


def _spec_names(changes: Mapping[str, Any]) -> dict[str, Any]:
    changes = dict(changes)
    if "global_pool" in changes:
        if "pool" in changes:
            raise SpecError("pool and global_pool are the same field; give one of them")
        name = changes.pop("global_pool")
        changes["pool"] = POOL_NAMES.get(name, name)
    for name in changes.keys() - ViTSpec.model_fields.keys():
        raise SpecError(unknown_field(name, ARGUMENTS))
    return changes


def _policy(name: Resample | str | None) -> dict[str, Resample]:
    """What the caller's policy changes of a record."""
    try:
        return {} if name is None else {"resample": Resample(name)}
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
    return model.init_weights(generator) if computes(device) else model


def _loaded(
    kind: type[M],
    found: Identified,
    policy: Mapping[str, Resample],
    device: torch.device,
    generator: torch.Generator | int | None,
) -> M:
    """A model with the weights of a checkpoint."""
    target = found.spec.replace(**found.changes)
    tensors = found.tensors(blank=not computes(device))
    same = (target.num_classes, target.out_dim) == (found.spec.num_classes, found.spec.out_dim)
    about = (found.about if same else found.about.headless()).replace(**policy)
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
