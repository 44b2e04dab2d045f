"""From a name, an address or a repository to verified files on this disk."""

from collections.abc import Collection, Sequence

from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry.licenses import check_license
from vitzoo.registry.reference import HUB, parse_address
from vitzoo.sources.fetch import Fetched, fetch, fetch_repo
from vitzoo.spec import HubSource, Source


def obtain(name: str, allow_licenses: Collection[str] | None = None) -> tuple[str | None, Fetched]:
    """The files of weights that are known by a name, an address or their repository; and their entry, if one has them.

    Raises:
        RegistryError: an unknown name, or a model without weights.
        LicenseError: see `check_license`; nothing was fetched.
        WeightsError: no source serves them.
    """
    address = parse_address(name)
    if address is not None:
        return None, fetch(name, [address])
    repo, _, revision = name.removeprefix(HUB).partition("@")
    if name.startswith(HUB) and not registry.knows(repo):
        return None, fetch_repo(repo, revision or None)
    found = registry.resolve(repo if name.startswith(HUB) else name)
    full = found.name if found.tag else registry.default_entry(found.model)
    if full is None:
        raise RegistryError(f"model '{found.model}' has no pretrained weights; create it with pretrained=False")
    entry = registry.weights_entry(full)
    check_license(full, entry.license, allow_licenses)
    sources: Sequence[Source] = entry.sources
    if name.startswith(HUB) and revision:  # of the repository that was named: no other source can stand for it
        hub = [source for source in sources if isinstance(source, HubSource)]
        named = [source for source in hub if source.repo == repo] or hub[:1]
        if not named:
            raise RegistryError(f"{full} is in no repository of the hub, so it has no revision '{revision}'")
        sources = [source.model_copy(update={"revision": revision, "sha256": None}) for source in named]
    return full, fetch(full, sources, revision or None if name.startswith(HUB) else None)
