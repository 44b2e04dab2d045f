"""What a user typed: a name of the registry, a repository of the hub, an address or a file. Nothing else reads it.

    vit_b16   vit_b16.augreg_in21k   timm/vit_base_patch16_224.augreg_in21k   ViT-B/16     a name, any spelling of one
    hf-hub:org/repo@revision   hf_hub:...   hf://org/repo@revision   org/repo@revision     the weights in a repository
    hf://org/repo/file@revision   https://host/file#sha256=digest                          the address of a file
    ./vit_b16   weights.pth   what is in the working directory   a `pathlib.Path`          a file or folder

A known name goes before a file of that name, which `./name` means. Another spelling of a name goes after all files.
"""

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from vitzoo.errors import RegistryError, SpecError, WeightsError, public
from vitzoo.registry import index
from vitzoo.small_files import there
from vitzoo.spec import BundledSource, HubSource, Source, UrlSource

_HUB = ("hf-hub:", "hf_hub:")  # timm takes both; the first is the normal form
_SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".onnx", ".xml", ".pt2")
_RECIPES = (".yaml", ".yml")
_PATHS = re.compile(r"\.{0,2}[/\\]|~[/\\]|[A-Za-z]:[/\\]|\.{1,2}$")
_ON_HUB = re.compile(r"hf://([^/@]+/[^/@]+)(?:/([^@]+))?(?:@(.+))?")
_ON_WEB = re.compile(r"https?://([^/@]*@)?([\w.-]+|\[[0-9a-f:.]+\])(:\d+)?/.+", re.IGNORECASE)
_REPOSITORY = re.compile(r"[^/@:\\\s]+/[^/@:\\\s]+")
_said: set[str] = set()


class NameBeforeFile(UserWarning):
    """A name of the registry was taken, and a file of that name is in the working directory."""


class Respelled(UserWarning):
    """A name was taken for another spelling of one of the registry."""


@dataclass(frozen=True)
class Name:
    """A model or weights of the registry."""

    name: str
    """`model` or `model.tag`."""
    repo: str | None = None
    """What was typed in the place of a repository: its weights are meant, not the architecture alone."""
    revision: str | None = None
    """A commit, branch or tag of the repository."""

    def __str__(self) -> str:
        return self.name if self.repo is None else _HUB[0] + _revised(self.repo, self.revision)


@dataclass(frozen=True)
class Repository:
    """The weights in a repository of the hub, with the configuration beside them, that no entry of the registry has."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return _HUB[0] + _revised(self.repo, self.revision)


@dataclass(frozen=True)
class Address:
    """One file on the hub or on the web."""

    source: HubSource | UrlSource

    def __str__(self) -> str:
        """Without what is secret in it."""
        if isinstance(self.source, HubSource):
            return address(self.source.repo, self.source.file, self.source.revision)
        return public(self.source.url) + (f"#sha256={self.source.sha256}" if self.source.sha256 else "")


@dataclass(frozen=True)
class File:
    """A file or folder, there or not."""

    path: Path

    def __str__(self) -> str:
        return str(self.path) if self.path.is_absolute() else f".{os.sep}{self.path}"


Reference = Name | Repository | Address | File
Typed = str | os.PathLike[str] | Reference


def parse(text: Typed) -> Reference:
    """The one reading of what a user typed; a path object is always a file. `str` of the answer is its normal form.

    Raises:
        SpecError: nothing was typed, or something else than text or a path.
        RegistryError: no name that is known, with the nearest ones; or one that could be several.
        WeightsError: it begins as an address and is none.
    """
    if isinstance(text, Reference):
        return text
    if isinstance(text, os.PathLike):
        return File(Path(text))
    if not isinstance(text, str) or not text.strip():
        raise SpecError(
            f"expected a model's name, a file, a repository or an address, found {text!r}; "
            "`vitzoo list` shows the names"
        )
    for prefix in _HUB:
        if text.startswith(prefix):
            return _in_repository(text.removeprefix(prefix), text)
    if "://" in text:
        return _addressed(text)
    if _PATHS.match(text):
        return File(Path(text).expanduser())
    return _known(text) or _plain(text)


def named(text: Typed) -> Name:
    """What is to be a name of the registry.

    Raises:
        RegistryError: it is something else.
    """
    found = parse(text)
    if not isinstance(found, Name):
        raise RegistryError(f"'{found}' is not a name in the registry; `vitzoo list` shows the names")
    return found


def at(reference: Reference, revision: str) -> Name | Repository:
    """The same at a commit, branch or tag.

    Raises:
        SpecError: it is in no repository, or has a revision already.
    """
    if not isinstance(reference, Name | Repository):
        raise SpecError(
            f"{reference} is a file or folder, and only a repository (org/name) has revisions; leave revision out"
        )
    if reference.revision is not None:
        raise SpecError(f"revision {revision} was given, and '{reference}' has one; leave one of the two out")
    if isinstance(reference, Name):
        return Name(reference.name, reference.repo or reference.name, revision)
    return Repository(reference.repo, revision)


def repository_of(text: str) -> Repository | None:
    """The repository, at its revision, that an address or a name of the hub is in; None for all else."""
    if (match := _ON_HUB.fullmatch(text)) is not None:
        return Repository(match[1], match[3])
    prefix = next((prefix for prefix in _HUB if text.startswith(prefix)), None)
    if prefix is None:
        return None
    repo, _, revision = text.removeprefix(prefix).partition("@")
    return Repository(repo, revision or None)


def recipe_file(text: str) -> Path | None:
    """The file that was typed in the place of a recipe's name; None for a name."""
    return Path(text) if text.endswith(_RECIPES) else None


def address(repo: str, file: str, revision: str | None) -> str:
    """`hf://org/repo/file@revision`; of the whole repository if `file` is empty."""
    return _revised(f"hf://{repo}" + (f"/{file}" if file else ""), revision)


def place_of(source: Source) -> str:
    """The address of a source, without a commit and without what is secret in it."""
    match source:
        case HubSource():
            return address(source.repo, source.file, None)
        case UrlSource():
            return public(source.url)
        case BundledSource():
            return f"bundled:{source.file}"


def _revised(text: str, revision: str | None) -> str:
    return text if revision is None else f"{text}@{revision}"


def _in_repository(text: str, typed: str) -> Reference:
    """`org/repo@revision`, or a name of the registry in its place."""
    repo, _, revision = text.partition("@")
    if index.knows(repo):
        return Name(index.resolve(repo).name, repo, revision or None)
    if not repo or repo.count("/") > 1:
        raise WeightsError(
            f"'{typed}': '{repo}' is not the name of a repository; expected {_HUB[0]}org/repo, or "
            "hf://org/repo/file for one file"
        )
    return Repository(repo, revision or None)


def _addressed(text: str) -> Reference:
    """`hf://org/repo/file@revision`, `hf://org/repo@revision` or `https://host/file#sha256=digest`."""
    if text.startswith("hf://"):
        match = _ON_HUB.fullmatch(text)
        if match is None:
            raise WeightsError(
                f"'{text}' is not the address of a file on the hub; expected hf://org/repo/file@revision"
            )
        repo, file, revision = match.groups()
        if file is None:
            return _in_repository(_revised(repo, revision), text)
        return Address(HubSource(repo=repo, file=file, revision=revision, layout="", sha256=None))
    url, _, fragment = text.partition("#")
    scheme, _, rest = url.partition("://")
    url = f"{scheme.lower()}://{rest}"
    if not url.startswith(("https://", "http://")):
        raise WeightsError(f"'{text}' is not a known kind of address; expected hf://org/repo/file or https://host/file")
    if not _ON_WEB.fullmatch(url):
        raise WeightsError(f"'{text}' is not the address of a file; expected https://host/file")
    digest = re.fullmatch("sha256=([0-9a-f]{64})", fragment.lower())
    if fragment and digest is None:
        raise WeightsError(
            f"'{public(url)}': expected #sha256= and all 64 digits of the file's digest, found '#{fragment[:80]}'; "
            "write the ones that `sha256sum FILE` prints, or leave '#...' out of an https address"
        )
    return Address(UrlSource(kind="url", url=url, layout="", sha256=digest[1] if digest else None))


def _known(text: str) -> Name | None:
    """A name of the registry as it stands there; with a revision, of the repository in its place."""
    if index.knows(text):
        if there(text):
            _say(f"'{text}' is taken for the model of that name; write ./{text} for the file", NameBeforeFile)
        return Name(index.resolve(text).name)
    repo, sign, revision = text.partition("@")
    if sign and revision and index.knows(repo) and not there(text):
        return Name(index.resolve(repo).name, repo, revision)
    return None


def _plain(text: str) -> Reference:
    """What has neither a prefix nor the name of something known."""
    if there(text) or text.endswith(_SUFFIXES):
        return File(Path(text))
    found = other_spellings(text)
    if len(names := {index.resolve(name).name for name in found}) > 1:
        raise RegistryError(f"'{text}' could be any of {', '.join(found)}; write one of them as it stands here")
    if names:
        (name,) = names
        _say(f"'{text}' is taken for {name}; write {found[0]}", Respelled)
        return Name(name)
    repo, _, revision = text.partition("@")
    if _REPOSITORY.fullmatch(repo):
        return Repository(repo, revision or None)
    if "/" in text or "\\" in text:
        return File(Path(text))
    return Name(index.resolve(text).name)  # which says what is near


def other_spellings(text: str) -> list[str]:
    """The names that `text` may be another spelling of: a repository's without its owner, a model's own, any alias."""
    known = sorted(index.aliases())
    without_owner = [alias for alias in known if alias.partition("/")[2] == text]
    own = [name for name in (*index.list_models(), *index.list_pretrained()) if _folded(name) == _folded(text)]
    return (
        without_owner
        or own
        or [alias for alias in known if _folded(text) in (_folded(alias), _folded(alias.partition("/")[2]))]
    )


def _folded(name: str) -> str:
    """A name in small letters and digits; `dinov2_vits14` without what says that it is a ViT."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"(?<=[a-z0-9])[_-]vit", "", name.lower()))


def _say(text: str, kind: type[UserWarning]) -> None:
    """Warn, once."""
    if text not in _said:
        _said.add(text)
        warnings.warn(text, kind, stacklevel=4)
