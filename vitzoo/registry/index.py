"""Names: of models and weights, aliases, near misses, the users' own registries. Nothing imports torch.

What ships is read compiled (`shipped`), what a user adds as YAML (`families`). Entries are plain data until somebody
asks for a `ViTSpec` or a `WeightsEntry`, so that `vitzoo list` imports neither pydantic nor YAML.
"""

import contextlib
import difflib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vitzoo.errors import RegistryError
from vitzoo.registry import shipped
from vitzoo.registry.entry import Entry, Fields, implied_names, near
from vitzoo.registry.figures import NO_FIGURES, Figure, figures_of
from vitzoo.small_files import there

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from vitzoo.spec import FamilyFile, ViTSpec, WeightsEntry

ENVIRONMENT = "VITZOO_REGISTRY"
ENTRY_POINTS = "vitzoo.registries"
PARTS = ("files", "defaults", "specs", "models", "weights", "aliases", "presets")


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
    names = [name for name in registry.ordered if fnmatchcase(name, pattern)]
    allowed = [license] if isinstance(license, str) else license
    return names if allowed is None else [name for name in names if registry.weights[name].license in allowed]


def resolve(name: str) -> Resolved:
    """What a model, `model.tag` or an alias (timm, Hugging Face, torchvision) stands for.

    Raises:
        RegistryError: an unknown name, with the nearest known ones.
    """
    return _registry().resolve(name)


def model_spec(name: str) -> "ViTSpec":
    """The architecture of a model; for weights or an alias, of the model that it belongs to."""
    return _registry().spec(resolve(name).model)


def weights_entry(name: str) -> "WeightsEntry":
    """The published weights `model.tag`, or an alias of them; a RegistryError for a model without a tag."""
    return _registry().entry(_registry().resolve_entry(name))


def entry_spec(name: str) -> "ViTSpec":
    """The architecture of the weights `model.tag`: the model's fields, and those that the entry changes."""
    return _registry().spec(_registry().resolve_entry(name))


def record(name: str) -> Entry:
    """A model, `model.tag` or an alias as plain data: what a list shows, at the price of no import."""
    return _registry().named(resolve(name).name)


def figures(name: str) -> list[Figure]:
    """What was published of a model, of weights or of an alias of them; see `measures` for who measured it, and how."""
    entry = record(name)
    return figures_of(entry.name, tuple(entry.spec["img_size"]), _registry().figures)


def measures() -> Mapping[str, Fields]:
    """What was measured, by its short name: title, kind, unit, source, place, measured_by, how, published."""
    found: Mapping[str, Fields] = _registry().figures["measures"]
    return found


def knows(name: str) -> bool:
    """Whether a model, `model.tag` or an alias has this name."""
    registry = _registry()
    return name in registry.models or name in registry.weights or name in registry.aliases


def aliases() -> Mapping[str, str]:
    """Every alias, with the model or the weights that it stands for."""
    return _registry().aliases


def with_layout(layout: str) -> list[str]:
    """The weights of which a source has this layout."""
    return _registry().layouts.get(layout, [])


def entries_of(model: str) -> list[str]:
    """The weights of a model, the default first."""
    return list(_registry().tags.get(resolve(model).model, ()))


def default_entry(model: str) -> str | None:
    """`model.tag` of a model's first weights; None if it has none."""
    return next(iter(_registry().tags.get(resolve(model).model, ())), None)


def add_registry(path: str | os.PathLike[str]) -> None:
    """Add a folder laid out like `registry/`, or one YAML file with models, weights or both: all of it or nothing.

    Raises:
        RegistryError: files that cannot be read, entries that are not valid, names that are taken.
    """
    global _loaded
    with _one_at_a_time:
        _loaded = _registry().extended(Path(path))


def draft(path: Path) -> tuple[list[Entry], list[str]]:
    """What the files at `path` would add, and what is wrong with them; files of the package's own registry as well."""
    path = path.expanduser().resolve()
    ours = path.is_relative_to(shipped.data_dir().resolve())
    new, problems = _Registry().checked(shipped.data_dir()) if ours else _registry().checked(path)
    folder = there(path) and path.is_dir()
    inside = path if folder else path.parent
    entries = [
        entry
        for entry in (*new.models.values(), *new.weights.values())
        if (Path(entry.file) == path or folder) and Path(entry.file).is_relative_to(inside)
    ]
    return entries, problems


class _Registry:
    """The entries of every file read so far. `extended` builds a new one, so an error leaves the old one as it was."""

    def __init__(self, plain: Mapping[str, Any] | None = None) -> None:
        plain = plain or {**{key: {} for key in PARTS}, "figures": NO_FIGURES}
        specs = [{**plain["defaults"], **fields} for fields in plain["specs"]]
        self.files: list[str] = list(plain["files"])
        self.models, self.weights = (
            {name: Entry(name, file, specs[spec], *row) for name, (file, spec, *row) in plain[kind].items()}
            for kind in ("models", "weights")
        )
        self.aliases: dict[str, str] = plain["aliases"]
        self.presets: Fields = plain["presets"]
        self.figures: dict[str, Any] = plain["figures"]
        self._specs: dict[int, ViTSpec] = {}
        self._entries: dict[str, WeightsEntry] = {}

    @cached_property
    def tags(self) -> dict[str, list[str]]:
        """The weights of each model that has some; its default is first."""
        found: dict[str, list[str]] = {}
        for name in self.weights:
            found.setdefault(name.partition(".")[0], []).append(name)
        return found

    @cached_property
    def ordered(self) -> list[str]:
        """All weights, by model in natural order; those of one model as their files have them."""
        return [name for model in sorted(self.tags, key=_natural) for name in self.tags[model]]

    @cached_property
    def layouts(self) -> dict[str, list[str]]:
        """The weights that have a source in a layout."""
        found: dict[str, list[str]] = {}
        for name in self.ordered:
            for layout in {source["layout"]: None for source in (self.weights[name].weights or {})["sources"]}:
                found.setdefault(layout, []).append(name)
        return found

    def plain(self, root: Path) -> dict[str, Any]:
        """All of it, for JSON: each architecture once and without its defaults, files named from `root` on."""
        from vitzoo.spec import ViTSpec

        specs: dict[str, int] = {}
        fields = {"hidden_dim": 1, "depth": 1, "num_heads": 1, "mlp_dim": 1}  # those without a default
        defaults = {k: v for k, v in ViTSpec.model_validate(fields).model_dump(mode="json").items() if k not in fields}

        def row(entry: Entry) -> list[Any]:
            own = {key: value for key, value in entry.spec.items() if key not in defaults or value != defaults[key]}
            return [_from(root, entry.file), specs.setdefault(json.dumps(own), len(specs)), *entry[3:]]

        return {
            "files": [_from(root, file) for file in self.files],
            "models": {name: row(entry) for name, entry in self.models.items()},
            "weights": {name: row(entry) for name, entry in self.weights.items()},
            "defaults": defaults,
            "specs": [json.loads(text) for text in specs],
            "aliases": self.aliases,
            "presets": self.presets,
            "figures": self.figures,
        }

    def extended(self, path: Path) -> "_Registry":
        """With the files at `path` as well; a RegistryError if anything in them is wrong."""
        new, problems = self.checked(path)
        if problems:
            more = f" (and {len(problems) - 1} more; `vitzoo registry check` lists them)" if problems[1:] else ""
            raise RegistryError(problems[0] + more)
        return new

    def checked(self, path: Path) -> "tuple[_Registry, list[str]]":
        """With what is right in the files at `path`, and what is wrong; a file that is there already is left out."""
        from vitzoo.registry import families
        from vitzoo.registry.digests import read_digests
        from vitzoo.registry.figures import read_figures

        files, shared = _files_at(path)
        files, presets = [file for file in files if str(file) not in self.files], self._presets(shared)
        known = {"models": self.models, "weights": self.weights}
        folder = path if there(path) and path.is_dir() else path.parent
        digests = read_digests(folder)
        found = families.Families(files, known, presets, digests)
        aliases, problems = self._aliases(found.models, found.weights)
        new = _Registry()
        new.files = [*self.files, *map(str, files)]
        new.models, new.weights = {**self.models, **found.models}, {**self.weights, **found.weights}
        new.aliases = {**self.aliases, **aliases}
        new.presets = self.presets or {kind: getattr(presets, kind) for kind in families.KINDS}
        tables = (
            [file for file in shipped.figure_files(folder) if str(file) not in self.files] if folder == path else []
        )
        new.figures, wrong = read_figures(tables, self.figures, {*new.models, *new.weights})
        new.files += map(str, tables)
        return new, [*found.problems, *problems, *wrong]

    def _presets(self, file: Path | None) -> "FamilyFile":
        """What the files of a folder share, on top of what ships."""
        from vitzoo.registry import families
        from vitzoo.spec import FamilyFile

        own = families.read_family(file) if file else FamilyFile.parse({"family": "presets"}, "presets")
        shared = {kind: {**self.presets.get(kind, {}), **getattr(own, kind)} for kind in families.KINDS}
        return FamilyFile.parse({"family": "presets", **shared}, str(file))

    def _aliases(self, models: Mapping[str, Entry], weights: Mapping[str, Entry]) -> tuple[dict[str, str], list[str]]:
        """The names that new entries add, and what is wrong with them. What an entry states goes before what its
        sources imply. What stands already is never redirected: to state such a name is an error, to imply it nothing.
        """
        entries, problems = (*models.values(), *weights.values()), []
        names = {**dict.fromkeys([*self.models, *models]), **dict.fromkeys([*self.weights, *weights])}
        stated: dict[str, str] = {}
        implied: dict[str, str] = {}

        def give(alias: str, entry: Entry, found: dict[str, str]) -> None:
            taken = alias if alias in names else self.aliases.get(alias) or found.setdefault(alias, entry.name)
            if taken != entry.name:
                problems.append(
                    f"{entry.file}: {entry.name}: the name '{alias}' belongs to {taken} already; give it to one"
                )

        for entry in entries:
            if entry.name in self.aliases:
                owner = self.aliases[entry.name]
                problems.append(f"{entry.file}: {entry.name} is another name of {owner} already; choose another one")
            for alias in entry.aliases:
                give(alias, entry, stated)
        for entry in weights.values():
            for alias in implied_names(entry):
                if alias not in stated and alias not in self.aliases:
                    give(alias, entry, implied)
        return {**implied, **stated}, problems

    def named(self, name: str) -> Entry:
        """The entry of a model or of weights."""
        return self.weights[name] if "." in name else self.models[name]

    def spec(self, name: str) -> "ViTSpec":
        """The architecture of a model or of weights."""
        from vitzoo.spec import ViTSpec

        fields = self.named(name).spec
        if id(fields) not in self._specs:
            self._specs[id(fields)] = ViTSpec.parse(fields, name)
        return self._specs[id(fields)]

    def entry(self, name: str) -> "WeightsEntry":
        from vitzoo.spec import WeightsEntry

        if name not in self._entries:
            self._entries[name] = WeightsEntry.parse(self.weights[name].weights or {}, name)
        return self._entries[name]

    def resolve(self, name: str) -> Resolved:
        bare = name
        if bare not in self.models and bare not in self.weights:
            bare = self.aliases.get(bare, bare)
        model, dot, tag = bare.partition(".")
        if bare in self.models or bare in self.weights:
            return Resolved(model, tag or None)
        if dot and model in self.models:
            raise RegistryError(f"unknown tag '{tag}' of model '{model}'; {self._tags_in_words(model, near=tag)}")
        close = near(bare, (*self.models, *self.weights, *self.aliases))
        raise RegistryError(f"unknown model '{name}'{close or '; `vitzoo list` shows what there is'}")

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


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _from(root: Path, file: str) -> str:
    return Path(file).relative_to(root).as_posix()


def _files_at(path: Path) -> tuple[list[Path], Path | None]:
    """The families at a path, a folder or one file, and the presets that a folder has for them."""
    path = path.expanduser().resolve()
    if not there(path) or not path.is_dir():
        return [path], None
    files, presets = shipped.yaml_files(path), path / shipped.PRESETS
    if not files:
        raise RegistryError(f"{path} has no families/*.yaml; put one there, or give the path of the file")
    return files, presets if presets.is_file() else None


def _user_paths() -> Iterator[tuple[str, Path]]:
    for path in filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep)):
        yield ENVIRONMENT, Path(path)
    if not _may_have_entry_points():
        return
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        yield f"entry point {point.name} = {point.value}", _entry_point_path(point)


def _may_have_entry_points() -> bool:
    """Whether an installed package may have registries; to look for the word is ten times as fast as to ask Python."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True  # somebody else knows of packages, too
    word = ENTRY_POINTS.encode()
    for folder in map(Path, dict.fromkeys(sys.path)):
        if folder.is_file():
            return True  # a zip
        for file in (*folder.glob("*.dist-info/entry_points.txt"), *folder.glob("*.egg-info/entry_points.txt")):
            with contextlib.suppress(OSError):
                if word in file.read_bytes():
                    return True
    return False


def _entry_point_path(point: "EntryPoint") -> Path:
    """The folder of a package, or what a callable returns."""
    try:
        found = point.load()
        return Path(found() if callable(found) else found.__path__[0])
    except Exception as error:  # whatever the other package raises; without its name nobody could find the cause
        raise RegistryError(
            f"entry point {point.name} = {point.value} of {ENTRY_POINTS} gives no path: {type(error).__name__}: {error}"
            "; mend or uninstall its package"
        ) from error


_loaded: _Registry | None = None
_one_at_a_time = threading.RLock()


def compiled() -> dict[str, Any]:
    """The package's own registry, read from its YAML and checked, as plain data."""
    folder = shipped.data_dir().resolve()
    return _Registry().extended(folder).plain(folder)


def _registry() -> _Registry:
    """All registries."""
    global _loaded
    if _loaded is None:
        with _one_at_a_time:
            _loaded = _loaded or _read()
    return _loaded


def _read() -> _Registry:
    """What ships, and what the user adds by the environment and by entry points."""
    plain = shipped.compiled(compiled)
    found = _Registry({**plain, "files": [str(shipped.data_dir().resolve() / file) for file in plain["files"]]})
    for origin, path in _user_paths():
        try:
            found = found.extended(path)
        except RegistryError as error:
            raise RegistryError(f"{origin}: {error}") from None
    return found
