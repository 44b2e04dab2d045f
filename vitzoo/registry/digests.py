"""Digests of a registry's sources, in a file beside its families, with where each is stated.

`vitzoo pin --registry FOLDER` writes it. What an entry states itself goes before it and must not contradict it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from vitzoo.errors import RegistryError
from vitzoo.registry.shipped import DIGESTS
from vitzoo.small_files import read_small
from vitzoo.spec import Frozen

WHOLE = 64  # digits


class Stated(Frozen):
    """The digest of one file."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    stated: Annotated[str, Field(min_length=1, max_length=300, description="by whom, and of what")]


class Digests(Frozen):
    """The whole file: by the address of a source, `hf://org/repo/file[@revision]` or a web address."""

    format: Literal[1] = 1
    files: Mapping[str, Stated] = Field(default_factory=dict)


def read_digests(folder: Path) -> Digests:
    """Those of a registry's folder; none where it has no such file.

    Raises:
        RegistryError: a file that cannot be read.
    """
    path = folder / DIGESTS
    try:
        return Digests.model_validate_json(read_small(path))
    except (FileNotFoundError, NotADirectoryError):
        return Digests()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise RegistryError(f"{path}: {field}: {first['msg']}; mend the file, or take it away") from None
    except OSError as error:
        raise RegistryError(f"{path} cannot be read: {error.strerror}") from None


def with_digest(source: Any, known: Digests, where: str) -> Any:
    """A source as an entry has it, with the digest that is known of it; what is no source stays as it is.

    Raises:
        RegistryError: the entry states another one.
    """
    found = known.files.get(str(key(source))) if isinstance(source, Mapping) else None
    if found is None:
        return source
    own = str(source.get("sha256") or "")
    if not found.sha256.startswith(own):
        theirs = f"{DIGESTS} has {found.sha256} of {key(source)}"
        raise RegistryError(f"{where}: sha256 is {own}, and {theirs}; mend one of the two")
    return {**source, "sha256": found.sha256, "stated": found.stated}


def key(fields: Mapping[str, Any]) -> str | None:
    """The address under which the file has a source; None for what ships with a package."""
    if "url" in fields:
        return str(fields["url"])
    if "repo" not in fields:
        return None
    at = f"@{fields['revision']}" if fields.get("revision") else ""
    return f"hf://{fields['repo']}/{fields.get('file', 'model.safetensors')}{at}"


def digest_in_words(source: Any) -> str:
    """What is known of the digest of a source, and where that is stated."""
    if source.sha256 is None:
        return "no digest is known: `vitzoo pin` writes down what the source has now"
    name = (getattr(source, "url", None) or source.file).rpartition("/")[2]
    if getattr(source, "stated", None):
        where = source.stated
    else:
        where = "in the file's own name" if f"-{source.sha256}" in name else "in the registry"
    digits = "" if len(source.sha256) == WHOLE else f", its first {len(source.sha256)} digits,"
    return f"sha256 {source.sha256}{digits} stated {where}"
