"""From a name, an address or a repository to verified files on this disk."""

from collections.abc import Collection, Sequence
from functools import partial

from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry.licenses import check_license
from vitzoo.registry.reference import Address, Name, Repository
from vitzoo.sources.fetch import Fetched, fetch, fetch_address, fetch_repo
from vitzoo.spec import HubSource, Source


def entry_of(name: Name) -> str:
    """The weights that a name stands for: those of its tag, else the model's first.

    Raises:
        RegistryError: a model without weights.
    """
    found = registry.resolve(name.name)
    full = found.name if found.tag else registry.default_entry(found.model)
    if full is None:
        raise RegistryError(f"model '{found.model}' has no pretrained weights; create it with pretrained=False")
    return full


def obtain(
    reference: Name | Repository | Address, allow_licenses: Collection[str] | None = None
) -> tuple[str | None, Fetched]:
    """The files of weights that are not known by a path; and their entry, if they have one.

    Raises:
        RegistryError: a model without weights.
        LicenseError: see `check_license`; nothing was fetched, or of a repository that the registry does not know its
            card alone.
        WeightsError: no source serves them.
    """
    if isinstance(reference, Address | Repository):
        allow = partial(check_license, str(reference), allowed=allow_licenses)
        if isinstance(reference, Repository):
            return None, fetch_repo(reference.repo, reference.revision, allow)
        return None, fetch_address(str(reference), reference.source, allow)
    full = entry_of(reference)
    entry = registry.weights_entry(full)
    check_license(full, entry.license, allow_licenses)
    sources: Sequence[Source] = entry.sources
    if reference.revision:  # of the repository that was named: no other source can stand for it
        hub = [source for source in sources if isinstance(source, HubSource)]
        named = [source for source in hub if source.repo == reference.repo] or hub[:1]
        if not named:
            raise RegistryError(f"{full} is in no repository of the hub, so it has no revision '{reference.revision}'")
        changed = {"revision": reference.revision, "sha256": None}
        sources = [source.model_copy(update=changed) for source in named]
    return full, fetch(full, sources, reference.revision)
