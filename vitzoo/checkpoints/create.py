"""A name, a hub id, a file or a spec becomes a ViT."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch

from vitzoo import registry
from vitzoo.checkpoints.identify import Assumed, Identified, Told, about_entry, identified
from vitzoo.checkpoints.load import load
from vitzoo.checkpoints.tensors import check_texts, computes, device_of, dtype_of
from vitzoo.errors import SpecError
from vitzoo.files.read import Reading
from vitzoo.model import TimmDialect
from vitzoo.registry.reference import Name, Reference, Typed, parse
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
    "source_img_size",
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
    drop: str | Sequence[str] = (),
    source_img_size: int | Sequence[int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    generator: torch.Generator | int | None = None,
    **changes: Any,
) -> M:
    """Build a ViT of the class `kind`, in evaluation mode; `vitzoo.create` is this with `ViT`.

    Args:
        model: weights or a model of the registry by any name, a file or folder in any layout, its address (`hf://org/
            repo/file`, `https://host/file#sha256=digest`), a `ViTSpec`, an exported file, which is an `Exported` then.
        pretrained: load the weights that a name stands for, a model's first without a tag. A file is always loaded.
        layout: how a file names its tensors; found if not given (`vitzoo.layouts.tables` has the names).
        like: a model or weights of the registry whose architecture a file has, for what its tensors do not show.
        resample: the policy for position tables; that of the weights if not given, which may not be known.
        allow_licenses: licences that weights may have; those in VITZOO_ALLOW_LICENSES, or all without it, if not given.
        wrapper, prefix, drop, source_img_size: of a file, the entry that holds the weights ("ema"), what stands before
            its tensors' names, tensors to leave out (`*` is any text), the size of pictures that its table is for.
        eager: read the whole file at once: where it is slow to map, or where somebody may write into a mapped one.
        device, dtype, generator: of the parameters, the CPU and torch's default type if not given ("meta" computes
            nothing); a torch generator or a seed for whatever is initialised.
        **changes: fields of the spec (`num_classes`, timm's `global_pool`; of a file what its tensors do not show too).

    Raises:
        RegistryError, SpecError: an unknown name; a field that does not exist, values that do not go together.
        LicenseError, WeightsError, LayoutError: weights that are not allowed, cannot be had or read, or do not fit.
    """
    changes, policy, place = _spec_names(changes), policy_of(resample), device_of(device)
    told, number = _told(layout, like, wrapper, prefix, source_img_size), dtype_of(dtype)
    how = Reading(eager=eager, wrapper=wrapper, drop=[drop] if isinstance(drop, str) else drop)
    known = _known(model, pretrained, bool(wrapper or prefix or drop or source_img_size))
    if isinstance(known, Model):
        built = _fresh(kind, known.spec.replace(**changes), known.about.replace(**policy), place, generator)
    else:
        built = _loaded(kind, identified(known, changes, told, how, allow_licenses), policy, place, generator)
    return _prepared(built, changes).to(device=place, dtype=number or torch.get_default_dtype()).eval()


def _told(layout: Any, like: Any, wrapper: Any, prefix: Any, source_img_size: Any) -> Told:
    """What the caller says of a file.

    Raises:
        SpecError: an argument that is to be text and is not.
    """
    check_texts(layout=layout, like=like, wrapper=wrapper, prefix=prefix)
    return Told(layout, like, prefix, source_img_size)


def _prepared(model: M, changes: Mapping[str, Any]) -> M:
    """The model; pictures are prepared at the size that is asked for, if one is, and else its report says at which."""
    if "img_size" in changes:
        model.preprocessing = model.preprocessing.replace(img_size=None)
    size, own = model.preprocessing.img_size, model.spec.img_size
    if size not in (None, own) and model.load_report is not None:
        model.load_report.because += (
            f"pictures are prepared at {size}, and the positions are for {own}: they are resampled for each picture by "
            f"the policy {model.resample}, with img_size={size} once and for all",
        )
    return model


class Model(NamedTuple):
    """A model that no file is read for."""

    spec: ViTSpec
    about: About


def _known(model: Typed | ViTSpec, pretrained: bool, reads: bool) -> Model | Reference:
    """What a model is without a file, or what to read.

    Raises:
        SpecError: it `reads` a file in some way, and there is none.
    """
    if isinstance(model, ViTSpec):
        name, known = "a spec", Model(model, NEW)
    elif isinstance(reference := parse(model), Name) and reference.repo is None and not pretrained:
        name, known = reference.name, _registered(reference.name)
    else:
        return reference
    if reads:
        raise SpecError(
            f"wrapper, prefix, drop and source_img_size say how a file is read, and {name} is built without one; "
            "leave them out"
        )
    return known


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


def policy_of(name: Resample | str | None) -> dict[str, Resample]:
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
    if found.assumed:
        warnings.warn(f"{found.file.path}: {'; '.join(found.assumed)}", Assumed, stacklevel=4)
    return model


def _registered(name: str) -> Model:
    """A model of the registry, with the preprocessing and the policy of its weights if the name has a tag."""
    found = registry.resolve(name)
    if found.tag is None:
        return Model(registry.model_spec(found.model), NEW)
    known = about_entry(found.name)
    about = NEW.replace(preprocessing=known.preprocessing, resample=known.resample)
    return Model(registry.entry_spec(found.name), about)
