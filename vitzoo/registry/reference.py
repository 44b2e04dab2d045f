"""What a user typed: a name, a repository, an address or a file."""

import os
import re
from pathlib import Path

from vitzoo.errors import WeightsError
from vitzoo.spec import BundledSource, HubSource, Source, UrlSource

FILE_SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin")


def is_file(name: str | os.PathLike[str]) -> bool:
    """Whether a user means a file, folder or address rather than a name: a path object, or it looks like one, or is."""
    return not isinstance(name, str) or name.endswith(FILE_SUFFIXES) or "://" in name or Path(name).exists()


HUB = "hf-hub:"


HUB_FILE = "hf://"


WEB = ("https://", "http://")


def parse_address(text: str) -> Source | None:
    """`hf://org/repo/file@revision` or `https://host/file#sha256=digest` as a source; None for a name or path.

    Raises:
        WeightsError: it begins as an address and is none.
    """
    if text.startswith(HUB_FILE):
        match = re.fullmatch(r"hf://([^/@]+/[^/@]+)/([^@]+)(?:@(.+))?", text)
        if match is None:
            raise WeightsError(f"'{text}' is no address of a file on the hub; expected hf://org/repo/file@revision")
        return HubSource(repo=match[1], file=match[2], revision=match[3], layout="", sha256=None)
    if text.startswith(WEB):
        url, _, fragment = text.partition("#")
        if not re.fullmatch(r"https?://([^/@]*@)?([\w.-]+|\[[0-9a-f:.]+\])(:\d+)?/.+", url, re.IGNORECASE):
            raise WeightsError(f"'{text}' is no address of a file; expected https://host/file")
        digest = fragment.removeprefix("sha256=")
        if fragment and not (fragment.startswith("sha256=") and re.fullmatch("[0-9a-f]{8,64}", digest)):
            raise WeightsError(f"'{text}': expected #sha256= and 8 to 64 hexadecimal digits, found '#{fragment}'")
        return UrlSource(kind="url", url=url, layout="", sha256=digest or None)
    if "://" in text:
        raise WeightsError(f"'{text}' is no address that is known; expected hf://org/repo/file or https://host/file")
    return None


def place_of(source: Source) -> str:
    """The address of a source, without a commit."""
    match source:
        case HubSource():
            return address(source.repo, source.file, None)
        case UrlSource():
            return source.url
        case BundledSource():
            return f"bundled:{source.file}"


def address(repo: str, file: str, revision: str | None) -> str:
    """`hf://org/repo/file@revision`; of the whole repository if `file` is empty."""
    return f"hf://{repo}" + (f"/{file}" if file else "") + (f"@{revision}" if revision else "")
