"""The licence of weights: said once where it restricts their use, and refused where the caller allows only some."""

import os
import warnings
from collections.abc import Collection

from vitzoo.errors import LicenseError

ENVIRONMENT = "VITZOO_ALLOW_LICENSES"
# As the hub spells them. Whoever uses weights under one of these owes at most credit and the text of the licence.
PERMISSIVE = frozenset({"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense"})

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
