"""Where weights come from: the package itself, the Hugging Face hub, a web address."""

import hashlib
import urllib.error
from pathlib import Path

from vitzoo.errors import WeightsError
from vitzoo.spec import BundledSource, HubSource, Source, UrlSource

BUNDLED = Path(__file__).parents[1] / "bundled"


def fetch(source: Source) -> Path:
    """A verified local file for a source; downloads it if it is not cached.

    Raises:
        WeightsError: the file cannot be had, or is not the one that the registry pins.
    """
    match source:
        case BundledSource():
            path = BUNDLED / source.file
        case HubSource():
            path = _from_hub(source)
        case UrlSource():
            path = _from_url(source)
    if source.sha256 is not None:
        verify(path, source.sha256)
    return path


def verify(path: Path, sha256: str) -> None:
    """Compare a file with the first digits of its digest; a WeightsError names both."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise WeightsError(f"{path} is not the expected file: sha256 {sha256} was expected, {found} found; delete it")


def _from_hub(source: HubSource) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    place = f"{source.file} of {source.repo}"
    try:
        return Path(hf_hub_download(source.repo, source.file, revision=source.revision))
    except LocalEntryNotFoundError:
        raise WeightsError(
            f"{place} is not in the cache and the hub cannot be reached; connect, or put the file into the cache, "
            "or pass the path of a local file"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{place} cannot be fetched from the hub: {reason}") from None


def _from_url(source: UrlSource) -> Path:
    from torch.hub import download_url_to_file, get_dir

    path = Path(get_dir()) / "checkpoints" / source.url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # torch writes to a temporary name and renames it when the download is whole.
        download_url_to_file(source.url, str(path), progress=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise WeightsError(f"{source.url} cannot be fetched: {error}; or pass the path of a local file") from None
    return path
