"""What a native file says about itself: its architecture and the record of its weights, as JSON in its metadata."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vitzoo import registry
from vitzoo.errors import SpecError, WeightsError, shown
from vitzoo.registry import class_names
from vitzoo.spec import About, Head, Past, ViTSpec
from vitzoo.version import __version__

KEY = "vitzoo"
"""Of safetensors metadata."""

FORMAT = 2
AGAIN = "take another copy, or write it again with vitzoo.save"
NEEDED = ("preprocessing", "resample")
"""Fields of the record without which a model would compute something else, in silence."""

BESIDE_THE_SPEC = ("preprocessing", "resample", "labels", "license", "training")
"""Fields of the record that format 1 had beside the spec."""

Json = Mapping[str, Any]


class Described(NamedTuple):
    """A native file's own words."""

    format: int
    spec: ViTSpec
    about: About


def describe(spec: ViTSpec, about: About) -> str:
    """Enough to build the model again from the file alone: the names of a known set of classes are written out."""
    whole = about.replace(labels=class_names(about.labels))
    found = {"format": FORMAT, "version": __version__}
    return json.dumps(found | {"spec": spec.model_dump(mode="json"), "about": whole.model_dump(mode="json")})


def described(metadata: Mapping[str, str], where: str) -> Described | None:
    """Read it, in this format or an older one; None for a file that is not native.

    Raises:
        WeightsError: metadata that cannot be read, or that a newer version wrote.
        SpecError: a field that does not exist or has a value that it cannot have.
    """
    if KEY not in metadata:
        return None
    try:
        found = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{where}: the metadata of this native file cannot be read: {error}; {AGAIN}") from None
    if not isinstance(found, dict):
        return None
    number, version = found.get("format", 1), found.get("version")
    if number not in (*UPGRADES, FORMAT):
        raise WeightsError(
            f"{where} was written by vitzoo {version} in format {number}, and vitzoo {__version__} reads formats up to "
            f"{FORMAT}: use a newer one"
        )
    _demand(found, ("spec",), where)
    if not isinstance(found.get("origin"), str | None):
        raise WeightsError(f"{where}: origin of this native file is {shown(found['origin'])}; expected text; {AGAIN}")
    found = UPGRADES[number](found) if number in UPGRADES else found
    _demand(found, ("about",), where)
    if missing := [name for name in NEEDED if name not in found["about"]]:
        raise _without(missing[0], where)
    try:
        return Described(number, ViTSpec.parse(found["spec"], "spec"), About.parse(found["about"], "about"))
    except SpecError as error:
        who = "" if version in (None, __version__) else f" was written by vitzoo {version}, and this is {__version__}"
        raise SpecError(f"{where}{who}: {error}") from None


def _demand(found: Json, keys: tuple[str, ...], where: str) -> None:
    for key in keys:
        if not isinstance(found.get(key), dict):
            raise _without(key, where)


def _without(key: str, where: str) -> WeightsError:
    return WeightsError(f"{where}: the metadata of this native file has no '{key}'; {AGAIN}")


def _from_1(found: Json) -> Json:
    """The record's fields stood beside the spec, the origin was a line of text, and no head was called a projection."""
    past = Past.of(found.get("origin"))
    about = {name: found[name] for name in BESIDE_THE_SPEC if name in found}
    about |= past._asdict()
    spec = found["spec"]
    if _projects(spec, about):
        spec = {**spec, "head": Head.PROJECTION, "out_dim": spec["num_classes"], "num_classes": 0}
    return {"spec": spec, "about": about}


def _projects(spec: Json, about: Json) -> bool:
    """Whether a linear head of format 1, which knew no other name for it, is a projection.

    It is if its outputs have no names and it has no bias (CLIP), or the registry knows the weights as such.
    """
    if spec.get("head") != Head.LINEAR or not spec.get("num_classes") or about.get("labels"):
        return False
    name = None if about["origin"] is None else about["origin"].name
    known = name is not None and registry.knows(name) and registry.resolve(name).tag is not None
    return spec.get("head_bias") is False or (known and registry.entry_spec(str(name)).out_dim == spec["num_classes"])


UPGRADES: dict[int, Callable[[Json], Json]] = {1: _from_1}
"""From each older format to this one."""
