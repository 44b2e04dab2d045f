"""The licence of weights: said once where it restricts their use, and refused where the caller allows only some."""

import difflib
import os
import re
import warnings
from collections.abc import Collection, Iterable
from typing import Any

import yaml

from vitzoo.errors import Argument, LicenseError
from vitzoo.registry.provenance import restricting
from vitzoo.spec import LONGEST_LICENSE, PERMISSIVE, About

ENVIRONMENT = "VITZOO_ALLOW_LICENSES"
# All that a card on the hub may name (https://huggingface.co/docs/hub/repositories-licenses), but "unknown".
# fmt: off
HUB_LICENSES = PERMISSIVE | {
    "afl-3.0", "agpl-3.0", "apple-amlr", "apple-ascl", "artistic-2.0", "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd-3-clause-clear", "c-uda", "cc", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cdla-sharing-1.0", "creativeml-openrail-m",
    "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "fair-noncommercial-research-license", "gfdl", "gpl",
    "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "lppl-1.3c", "mpl-2.0", "ms-pl", "odbl",
    "odc-by", "ofl-1.1", "openrail", "openrail++", "osl-3.0",
}
# fmt: on
UNSAID = {"unknown", "none", "null", "~"}
LONGEST_CARD = 1 << 18  # characters
_FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)

_said: set[str] = set()


class RestrictedLicense(UserWarning):
    """Weights whose licence restricts their use."""


def check_license(name: str, license: str | None, allowed: Collection[str] | None = None) -> None:
    """Refuse weights whose licence is not in `allowed`; warn once of a licence that restricts their use.

    `allowed` is a collection of licences; if None, those named in the environment variable VITZOO_ALLOW_LICENSES,
    separated by commas; if that is not set either, all.

    Raises:
        LicenseError: the licence is not among those allowed, or is not known.
    """
    if allowed is None and (text := os.environ.get(ENVIRONMENT)) is not None:
        allowed = {part.strip() for part in text.split(",") if part.strip()}
    if isinstance(allowed, str):
        allowed = {allowed}
    if allowed is not None and license not in allowed:
        stated = f"the licence '{license}'" if license else "a licence that is not stated"
        how = "add it to" if license else "ask its authors for one and leave out"
        raise LicenseError(
            f"{name} is under {stated}, "
            f"and only {', '.join(sorted(allowed)) or 'none'} may be used; "
            f"choose other weights (`vitzoo list --license ...`), or {how} allow_licenses or {ENVIRONMENT}"
        )
    if license is not None and license not in PERMISSIVE and name not in _said:
        _said.add(name)
        warnings.warn(
            f"{name} is under the licence '{license}', which restricts its use; read it before you use the weights",
            RestrictedLicense,
            stacklevel=4,
        )


def license_to_publish(about: About, given: str | None = None) -> str:
    """The licence that weights are published under: `given`, or their own.

    Raises:
        LicenseError: there is none; it allows more than that of what they were made from; or it is close to a name of
            the hub and yet none.
    """
    base = restricting(about)
    license = given or about.license or (base.license if base is not None else None)
    if license is None:
        raise LicenseError(
            "no licence of these weights is known, and without one nobody may use them; give it as the hub spells it, "
            "such as ",
            Argument("license", "apache-2.0"),
        )
    check_base(about, license)
    if license not in HUB_LICENSES and (near := difflib.get_close_matches(license.lower(), HUB_LICENSES, cutoff=0.8)):
        raise LicenseError(f"the hub knows no licence '{license}'; did you mean {' or '.join(near)}?")
    return license


def check_base(about: About, license: str | None) -> None:
    """Refuse `license` for weights that were made from others under one that restricts their use.

    Raises:
        LicenseError: it is another; with the name of what binds, and where that comes from.
    """
    base = restricting(about)
    if base is not None and license not in (None, base.license):
        raise LicenseError(
            f"{base.where} is under '{base.license}', which restricts the use of all that is made from it, and "
            f"'{license}' was given; leave it out, or set model.license = '{base.license}'. If all of these weights "
            f"are your own, say so first: model.about = model.about.replace(license='{license}', origin=None, "
            "derived_from=None)"
        )


def strictest(stated: Iterable[str | None]) -> str | None:
    """Of the licences that several places state for one file, one that restricts its use, else the first."""
    found = [one for one in stated if one is not None]
    return next((one for one in found if one not in PERMISSIVE), next(iter(found), None))


def license_on_card(text: str) -> str | None:
    """The licence that a card (README.md) of the hub states in its front matter; None if it states none."""
    match = _FRONT_MATTER.match(text[:LONGEST_CARD])
    if match is None:
        return None
    try:
        node = yaml.compose(match[1], yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None  # then it says nothing to the hub either
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    said = {key.value: _names(value) for key, value in pairs if isinstance(key, yaml.ScalarNode)}
    license = strictest(said.get("license", ()))
    return next(iter(said.get("license_name", ())), None) or license if license == "other" else license


def license_named(text: Any) -> str | None:
    """A licence as a file from elsewhere names it, spelled as on the hub; None if it is no name, but a whole text."""
    name = text.strip().lower().removeprefix("licenseref-") if isinstance(text, str) else ""
    return name if 0 < len(name) <= LONGEST_LICENSE and name not in UNSAID else None


def _names(node: yaml.Node) -> list[str | None]:
    """What a node names, or each in a list; nothing is expanded or converted."""
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return [license_named(one.value) for one in nodes if isinstance(one, yaml.ScalarNode)]
