"""YAML files become specs: names, inheritance, aliases, near misses, the users' own registries. Nothing imports torch.

`registry/models/<family>.yaml` says what the models are, `registry/weights/<family>.yaml` what was published for them.
Files are read at the first call; an entry is merged with its bases and checked when it is asked for.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vitzoo.errors import RegistryError, SpecError
from vitzoo.registry.strict_yaml import data_dir, read_yaml
from vitzoo.spec import FamilyFile, ViTSpec, WeightsEntry

ENVIRONMENT = "VITZOO_REGISTRY"
ENTRY_POINTS = "vitzoo.registries"

T = TypeVar("T")
Fields = Mapping[str, Any]


class Resolved(NamedTuple):
    """What a name stands for; `tag` is None for a model without weights."""

    model: str
    tag: str | None = None

    @property
    def name(self) -> str:
        """`model.tag`, or the model alone."""
        return self.model if self.tag is None else f"{self.model}.{self.tag}"


def list_models(pattern: str = "*") -> list[str]:
    """The models whose name matches a shell pattern, in natural order (`b8` before `b16`)."""
    return [name for name in sorted(_registry().models, key=_natural) if fnmatchcase(name, pattern)]


def list_pretrained(pattern: str = "*", license: Sequence[str] | None = None) -> list[str]:
    """The weights whose `model.tag` matches a shell pattern, by model in natural order; a model's default is first."""
    registry = _registry()
    names = [name for model in sorted(registry.tags, key=_natural) for name in registry.tags[model]]
    names = [name for name in names if fnmatchcase(name, pattern)]
    allowed = [license] if isinstance(license, str) else license
    return names if allowed is None else [name for name in names if registry.entry(name).license in allowed]


def resolve(name: str) -> Resolved:
    """What a model, `model.tag` or an alias (timm, Hugging Face, torchvision) stands for.

    Raises:
        RegistryError: an unknown name, with the nearest known ones.
    """
    return _registry().resolve(name)


def model_spec(name: str) -> ViTSpec:
    """The architecture of a model; for weights or an alias, of the model that it belongs to."""
    return _registry().spec(resolve(name).model)


def weights_entry(name: str) -> WeightsEntry:
    """The published weights `model.tag`, or an alias of them; a RegistryError for a model without a tag."""
    return _registry().entry(_registry().resolve_entry(name))


def entry_spec(name: str) -> ViTSpec:
    """The architecture of the weights `model.tag`: the model's fields, and those that the entry changes."""
    return _registry().spec(_registry().resolve_entry(name))


def knows(name: str) -> bool:
    """Whether a model, `model.tag` or an alias has this name."""
    registry = _registry()
    return name in registry.models or name in registry.weights or name in registry.aliases


def aliases() -> Mapping[str, str]:
    """Every alias, with the model or the weights that it stands for."""
    return _registry().aliases


def with_layout(layout: str) -> list[str]:
    """The weights of which a source has this layout."""
    return [name for name in list_pretrained() if any(s.layout == layout for s in weights_entry(name).sources)]


def entries_of(model: str) -> list[str]:
    """The weights of a model, the default first."""
    return list(_registry().tags.get(resolve(model).model, ()))


def default_entry(model: str) -> str | None:
    """`model.tag` of a model's first weights; None if it has none."""
    return next(iter(_registry().tags.get(resolve(model).model, ())), None)


def class_names(labels: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names of classes; those of a known set come from timm, whose import brings torch."""
    return known_set(labels) if isinstance(labels, str) else labels


@cache
def known_set(name: str) -> tuple[str, ...]:
    """The names of the classes of a known set, such as imagenet-1k."""
    from timm.data import ImageNetInfo

    try:
        return tuple(ImageNetInfo(name).label_descriptions())
    except AssertionError:  # timm's way to say so
        raise RegistryError(f"unknown set of labels '{name}'; give the list of names instead") from None


def add_registry(path: str | os.PathLike[str]) -> None:
    """Add a folder laid out like `registry/`, or one YAML file with models, weights or both: all of it or nothing.

    Raises:
        RegistryError: files that cannot be read, entries that are not valid, names that are taken.
    """
    global _loaded
    _loaded = _registry().extended(Path(path))


class _Entry(NamedTuple):
    """An entry as its file has it; `siblings` are all entries of that kind in the file, the abstract ones too."""

    name: str
    file: Path
    fields: Fields
    siblings: Mapping[str, Fields]


class _Registry:
    """The entries of every file read so far. `extended` builds a new one, so an error leaves the old one as it was."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.models: dict[str, _Entry] = {}
        self.weights: dict[str, _Entry] = {}
        self.tags: dict[str, list[str]] = {}
        self._specs: dict[str, ViTSpec] = {}
        self._entries: dict[str, WeightsEntry] = {}
        self._aliases: dict[str, str] | None = None

    def extended(self, path: Path, check: bool = True) -> "_Registry":
        """With the files at `path` as well, and every entry of theirs checked; a file that is there is left out."""
        new = _Registry()
        fresh = [file for file in _yaml_files(path) if file not in self.files]
        new.files, new.models, new.weights = self.files + fresh, dict(self.models), dict(self.weights)
        for file in fresh:
            data = _load(file)
            for table, entries in ((new.models, data.models), (new.weights, data.weights)):
                for name, fields in entries.items():
                    if name in table:
                        raise RegistryError(f"{file}: {name}: {table[name].file} has that name; choose another one")
                    if not name.startswith("_"):
                        table[name] = _Entry(name, file, fields, entries)
        for name, entry in new.weights.items():
            model = name.partition(".")[0]
            if model not in new.models:
                raise RegistryError(f"{entry.file}: {name}: there is no model '{model}'{_near(model, new.models)}")
            new.tags.setdefault(model, []).append(name)
        if check:
            for name in (*new.models, *new.weights):
                if new._entry_of(name).file in fresh:
                    new.spec(name)
            _ = new.aliases
        return new

    def _entry_of(self, name: str) -> _Entry:
        return self.weights[name] if "." in name else self.models[name]

    def spec(self, name: str) -> ViTSpec:
        """The architecture of a model or of weights."""
        if name not in self._specs:
            model, dot, _ = name.partition(".")
            fields = self._inherit(self.models, self.models[model])
            fields = _merge(fields, self.entry(name).spec) if dot else fields
            fields = {key: value for key, value in fields.items() if key != "aliases"}
            self._specs[name] = _checked(ViTSpec.parse, fields, f"{self._entry_of(name).file}: {name}")
        return self._specs[name]

    def entry(self, name: str) -> WeightsEntry:
        if name not in self._entries:
            entry = self.weights[name]
            fields = self._inherit(self.weights, entry)
            self._entries[name] = _checked(WeightsEntry.parse, fields, f"{entry.file}: {name}")
        return self._entries[name]

    def _inherit(self, table: Mapping[str, _Entry], *chain: _Entry) -> Fields:
        """The fields of the chain's last entry, with those of its bases; the entries before it inherit from it."""
        entry = chain[-1]
        # Aliases are an entry's own: two entries cannot share a name.
        skipped = ("base",) if len(chain) == 1 else ("base", "aliases")
        own = {key: value for key, value in entry.fields.items() if key not in skipped}
        if "base" not in entry.fields:
            return own
        name, where = str(entry.fields["base"]), f"{chain[0].file}: {chain[0].name}"
        here = entry.siblings.get(name)
        base = table.get(name) if here is None else entry._replace(name=name, fields=here)
        if base is None:
            raise RegistryError(f"{where}: unknown base '{name}'{_near(name, (*entry.siblings, *table))}")
        if (base.file, name) in [(link.file, link.name) for link in chain]:
            circle = " -> ".join([*(link.name for link in chain), name])
            raise RegistryError(f"{where}: base goes in a circle: {circle}")
        return _merge(self._inherit(table, *chain, base), own)

    @property
    def aliases(self) -> Mapping[str, str]:
        """Each alias and the name that it stands for. What an entry states goes before what its sources imply."""
        if self._aliases is None:
            stated = self._collect(self._stated(), {})
            self._aliases = {**self._collect(self._implied(), stated), **stated}
        return self._aliases

    def _collect(self, pairs: Iterable[tuple[str, str]], stated: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for alias, name in pairs:
            if alias not in stated:
                taken = alias if alias in self.models or alias in self.weights else found.setdefault(alias, name)
                if taken != name:
                    where = f"{self._entry_of(name).file}: {name}"
                    raise RegistryError(f"{where}: the name '{alias}' belongs to {taken} already; give it to one")
        return found

    def _stated(self) -> Iterator[tuple[str, str]]:
        for entry in (*self.models.values(), *self.weights.values()):
            aliases = entry.fields.get("aliases", [])
            if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
                raise RegistryError(f"{entry.file}: {entry.name}: aliases is a list of names, found {aliases!r}")
            yield from ((alias, entry.name) for alias in aliases)

    def _implied(self) -> Iterator[tuple[str, str]]:
        """A hub repository's id; timm's repositories are named `arch.tag`, so that name alone too.

        Sources are read as they stand in the file: to check them all would take longer than to load a model.
        """
        for name, entry in self.weights.items():
            fields = entry.fields if "sources" in entry.fields else self._inherit(self.weights, entry)
            sources = fields.get("sources")
            for source in sources if isinstance(sources, list) else ():
                repo = source.get("repo") if isinstance(source, Mapping) else None
                if isinstance(repo, str):
                    yield repo, name
                    if repo.startswith("timm/"):
                        yield repo.removeprefix("timm/"), name

    def resolve(self, name: str) -> Resolved:
        bare = name
        if bare not in self.models and bare not in self.weights:
            bare = self.aliases.get(bare, bare)
        model, dot, tag = bare.partition(".")
        if bare in self.models or bare in self.weights:
            return Resolved(model, tag or None)
        if dot and model in self.models:
            raise RegistryError(f"unknown tag '{tag}' of model '{model}'; {self._tags_in_words(model, near=tag)}")
        near = _near(bare, (*self.models, *self.weights, *self.aliases))
        raise RegistryError(f"unknown model '{name}'{near or '; `vitzoo list` shows what there is'}")

    def resolve_entry(self, name: str) -> str:
        """`model.tag`; a RegistryError with the model's tags for a model alone."""
        found = self.resolve(name)
        if found.tag is None:
            raise RegistryError(f"'{name}' is a model, not its weights; {self._tags_in_words(found.model)}")
        return found.name

    def _tags_in_words(self, model: str, near: str = "") -> str:
        tags = [name.partition(".")[2] for name in self.tags.get(model, ())]
        close = difflib.get_close_matches(near.lower(), tags, n=len(tags) or 1)
        listed = ", ".join([*close, *(tag for tag in tags if tag not in close)])
        return f"its tags are {listed}" if tags else "nothing was published for it"


def _merge(base: Fields, own: Fields) -> Fields:
    """Mappings are merged, all else is replaced, lists too."""
    merged = dict(base)
    for key, value in own.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _checked(parse: Callable[[Fields, str], T], fields: Fields, where: str) -> T:
    try:
        return parse(fields, where)
    except SpecError as error:
        raise RegistryError(str(error)) from None


def _near(name: str, known: Iterable[str]) -> str:
    folded = {candidate.lower(): candidate for candidate in known if not candidate.startswith("_")}
    close = [folded[match] for match in difflib.get_close_matches(name.lower(), folded)]
    return f"; did you mean {', '.join(close)}?" if close else ""


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _load(file: Path) -> FamilyFile:
    return _checked(FamilyFile.parse, read_yaml(file), str(file))


def _yaml_files(path: Path) -> list[Path]:
    path = path.expanduser().resolve()
    files = sorted(path.glob("models/*.yaml")) + sorted(path.glob("weights/*.yaml")) if path.is_dir() else [path]
    if not files:
        raise RegistryError(f"{path} has no models/*.yaml and no weights/*.yaml")
    return files


def _user_paths() -> Iterator[tuple[str, Path]]:
    for path in filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep)):
        yield ENVIRONMENT, Path(path)
    for point in entry_points(group=ENTRY_POINTS):
        yield f"entry point {point.name} = {point.value}", _entry_point_path(point)


def _entry_point_path(point: EntryPoint) -> Path:
    """The folder of a package, or what a callable returns."""
    try:
        found = point.load()
        return Path(found() if callable(found) else found.__path__[0])
    except Exception as error:  # whatever the other package raises; without its name nobody could find the cause
        raise RegistryError(
            f"entry point {point.name} = {point.value} of {ENTRY_POINTS} gives no path: {type(error).__name__}: {error}"
        ) from error


_loaded: _Registry | None = None


def _registry() -> _Registry:
    """All registries; what ships is not checked here, since a test does it."""
    global _loaded
    if _loaded is None:
        found = _Registry().extended(data_dir(), check=False)
        for origin, path in _user_paths():
            try:
                found = found.extended(path)
            except RegistryError as error:
                raise RegistryError(f"{origin}: {error}") from None
        _loaded = found
    return _loaded
