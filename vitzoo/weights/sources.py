"""Where weights come from: the package itself, the Hugging Face hub, a web address."""

import hashlib
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
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


CONFIGURATION = ["config.json", "preprocessor_config.json", "processor_config.json"]
# What a repository may hold: the first kind of file that is there is taken.
REPOSITORY_FILES = (
    ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"],
    ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"],
)


def fetch_repo(repo: str, revision: str | None = None) -> Path:
    """The weights of a hub repository, with the configuration beside them, as a local folder.

    Raises:
        WeightsError: the repository cannot be had, or holds no weights under the names that are usual.
    """
    from huggingface_hub import snapshot_download

    for names in REPOSITORY_FILES:
        with _hub_errors(repo):
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=[*CONFIGURATION, *names]))
        if any((folder / name).is_file() for name in names[:2]):
            return folder
    usual = ", ".join(names[0] for names in REPOSITORY_FILES)
    raise WeightsError(f"{repo} holds no weights under the usual names ({usual}); give the file as a source")


def verify(path: Path, sha256: str) -> None:
    """Compare a file with the first digits of its digest; a WeightsError names both."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise WeightsError(f"{path} is not the expected file: sha256 {sha256} was expected, {found} found; delete it")


def _from_hub(source: HubSource) -> Path:
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE:  # the client would set up its connections before it says that it may not use them
        cached = try_to_load_from_cache(source.repo, source.file, revision=source.revision)
        if isinstance(cached, str):
            return Path(cached)
    with _hub_errors(f"{source.file} of {source.repo}"):
        return Path(hf_hub_download(source.repo, source.file, revision=source.revision))


@contextmanager
def _hub_errors(place: str) -> Iterator[None]:
    """What goes wrong at the hub, as one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
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
