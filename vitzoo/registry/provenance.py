"""What weights came from, as the registry and the hub know it, and the licence that comes with it."""

from typing import NamedTuple

from vitzoo import registry
from vitzoo.registry.reference import repository_of
from vitzoo.spec import PERMISSIVE, About, HubSource, Origin, WeightsEntry


def entry_of(origin: Origin) -> WeightsEntry | None:
    """The weights of the registry that an origin names."""
    found = registry.resolve(origin.name) if origin.name is not None and registry.knows(origin.name) else None
    return None if found is None or found.tag is None else registry.weights_entry(found.name)


def repo_of(origin: Origin) -> str | None:
    """The repository of the hub that has the weights."""
    if origin.address is not None and (found := repository_of(origin.address)) is not None:
        return found.repo
    entry = entry_of(origin)
    return next((one.repo for one in entry.sources if isinstance(one, HubSource)), None) if entry is not None else None


class Base(NamedTuple):
    """A licence that restricts the use of weights, and of all that is made from them."""

    license: str
    where: str
    """Whose it is, in words."""


def restricting(about: About) -> Base | None:
    """The licence that binds whoever passes weights on: that of what they were made from, else their own."""
    past = [one for one in (about.derived_from, about.origin) if one is not None]
    named = about.past or "the weights that these were made from"
    found = [Base(about.base_license, named)] if about.base_license is not None else []
    found += [Base(entry.license, str(one.name)) for one in past if (entry := entry_of(one)) is not None]
    found += [Base(about.license, about.past or "this model")] if about.license is not None else []
    return next((one for one in found if one.license not in PERMISSIVE), None)
