"""What the registry and the hub have of the weights that others came from."""

from vitzoo import registry
from vitzoo.registry.reference import repository_of
from vitzoo.spec import HubSource, Origin, WeightsEntry


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
