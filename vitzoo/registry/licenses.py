"""The licence of weights: said once where it restricts their use, and refused where the caller allows only some."""

import difflib
import os
import warnings
from collections.abc import Collection

from vitzoo.errors import Argument, LicenseError

ENVIRONMENT = "VITZOO_ALLOW_LICENSES"
# As the hub spells them. Whoever uses weights under one of these owes at most credit and the text of the licence.
PERMISSIVE = frozenset({"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense"})
# All that a card on the hub may name (https://huggingface.co/docs/hub/repositories-licenses), but "unknown".
# fmt: off
HUB_LICENSES = PERMISSIVE | {
    "afl-3.0", "agpl-3.0", "apple-amlr", "apple-ascl", "artistic-2.0", "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m",
    "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "fair-noncommercial-research-license", "gfdl", "gpl",
    "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "lppl-1.3c", "mpl-2.0", "ms-pl", "ncsa",
    "odbl", "odc-by", "ofl-1.1", "openrail", "openrail++", "osl-3.0", "pddl", "postgresql", "wtfpl", "zlib",
}
# fmt: on

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
        raise LicenseError(
            f"{name} is under {stated}, "
            f"and only {', '.join(sorted(allowed)) or 'none'} may be used; "
            f"choose other weights (`vitzoo list --license ...`), or add it to allow_licenses or {ENVIRONMENT}"
        )
    if license is not None and license not in PERMISSIVE and name not in _said:
        _said.add(name)
        warnings.warn(
            f"{name} is under the licence '{license}', which restricts its use; read it before you use the weights",
            RestrictedLicense,
            stacklevel=4,
        )


def license_to_publish(known: str | None, given: str | None = None) -> str:
    """The licence that a model is published under: `given`, or that of its weights, which is `known` or not.

    Raises:
        LicenseError: there is none; `given` is another than that of weights whose use is restricted; or it is close to
            a name of the hub and yet none.
    """
    if given is not None and known is not None and known not in PERMISSIVE and given != known:
        raise LicenseError(
            f"the weights are under '{known}', which restricts their use, and '{given}' was given; leave it out, or "
            "set model.license if all of these weights are your own"
        )
    license = given or known
    if license is None:
        raise LicenseError(
            "no licence of these weights is known, and without one nobody may use them; give it as the hub spells it, "
            "such as ",
            Argument("license", "apache-2.0"),
        )
    if license not in HUB_LICENSES and (near := difflib.get_close_matches(license.lower(), HUB_LICENSES, cutoff=0.8)):
        raise LicenseError(f"the hub knows no licence '{license}'; did you mean {' or '.join(near)}?")
    return license
