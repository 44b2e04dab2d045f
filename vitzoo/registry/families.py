"""The registry's YAML files become entries that inherit nothing any more, each checked. Nothing imports torch.

An entry is merged with its bases, what follows from the rest is filled in, and the result is checked as `ViTSpec` and
`WeightsEntry`. What is wrong is collected, so that one look shows all of it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vitzoo.errors import RegistryError, SpecError
from vitzoo.registry import label_sets
from vitzoo.registry.digests import Digests, with_digest
from vitzoo.registry.entry import Entry, Fields, near
from vitzoo.registry.strict_yaml import read_yaml
from vitzoo.spec import FamilyFile, ViTSpec, WeightsEntry
from vitzoo.spec.base import unknown_field
from vitzoo.spec.multiply_adds import count_macs
from vitzoo.spec.tensors import count_parameters

T = TypeVar("T")
KINDS = ("models", "weights")
OWN = {"models": ("base", "aliases"), "weights": ("base", "aliases", "timm", "params")}
"""What an entry never inherits."""
KNOWN = {
    "models": {"base", "aliases", *ViTSpec.model_fields},
    "weights": {"base", "timm", "layout", *WeightsEntry.model_fields},
}


class Written(NamedTuple):
    """An entry as its file has it."""

    kind: str
    name: str
    file: Path
    family: FamilyFile

    @property
    def fields(self) -> Fields:
        found: Fields = getattr(self.family, self.kind)[self.name]
        return found

    @property
    def where(self) -> str:
        return f"{self.file}: {self.name}"


class Families:
    """Files that are added together, on top of the entries that there are already.

    `problems` says what is wrong; `models` and `weights` have what is right.
    """

    def __init__(
        self,
        files: Sequence[Path],
        known: Mapping[str, Mapping[str, Entry]],
        presets: FamilyFile,
        digests: Digests | None = None,
    ) -> None:
        self.problems: list[str] = []
        self.models: dict[str, Entry] = {}
        self.weights: dict[str, Entry] = {}
        self._known, self._presets, self._digests = known, presets, digests or Digests()
        self._written: dict[str, dict[str, Written]] = {kind: {} for kind in KINDS}
        self._failed: set[str] = set()
        for file in files:
            self._read(file)
        for name in self._written["models"]:
            self._try(name, self.model)
        for name in self._written["weights"]:
            if name.partition(".")[0] not in self._failed:
                self._try(name, self.entry)

    def _read(self, file: Path) -> None:
        try:
            family = read_family(file)
        except RegistryError as error:
            self.problems.append(str(error))
            return
        for kind in KINDS:
            for name in getattr(family, kind):
                written = Written(kind, name, file, family)
                if unknown := [field for field in written.fields if field not in KNOWN[kind]]:
                    self.problems += [f"{written.where}: {unknown_field(str(f), KNOWN[kind])}" for f in unknown]
                    self._failed.add(name)
                if name.startswith("_"):
                    continue
                taken = self._known[kind].get(name) or self._written[kind].get(name)
                if taken is not None:
                    self.problems.append(f"{written.where}: {taken.file} has that name; choose another one")
                else:
                    self._written[kind][name] = written

    def _try(self, name: str, resolve: Callable[[str], Entry]) -> None:
        if name not in self._failed:
            try:
                resolve(name)
            except RegistryError as error:
                self._failed.add(name)
                self.problems.append(str(error))

    def model(self, name: str) -> Entry:
        """A model of these files, or one that there is already."""
        if name in self._known["models"]:
            return self._known["models"][name]
        if name not in self.models:
            written = self._written["models"][name]
            fields = {key: value for key, value in self._inherit(written).items() if key != "aliases"}
            spec = checked(ViTSpec.parse, fields, written.where)
            plain = spec.model_dump(mode="json")
            self.models[name] = Entry(
                name, str(written.file), plain, count_parameters(spec), count_macs(spec), _aliases(written)
            )
        return self.models[name]

    def entry(self, name: str) -> Entry:
        """Weights of these files."""
        if name not in self.weights:
            written, own = self._written["weights"][name], name.partition(".")[0]
            models = {**self._known["models"], **self._written["models"]}
            if own not in models:
                raise RegistryError(f"{written.where}: there is no model '{own}'{near(own, models)}")
            fields = _laid_out(self._inherit(written), written.family)
            if isinstance(sources := fields.get("sources"), list):
                fields["sources"] = [with_digest(one, self._digests, written.where) for one in sources]
            self.weights[name] = _completed(written, fields, self.model(own))
        return self.weights[name]

    def _inherit(self, written: Written, chain: tuple[Written, ...] = ()) -> Fields:
        """An entry's fields on top of those of its bases, which are merged in their order."""
        chain, merged = (*chain, written), dict[str, Any]()
        for name in _bases(written):
            merged = merge(merged, self._base(written, name, chain))
        own = {key: value for key, value in written.fields.items() if key not in ("base", "timm")}
        merged = merge(merged, own)
        if "timm" in written.fields:
            merged |= _hosted_by_timm(written, merged)
        return merged

    def _base(self, written: Written, base: str, chain: tuple[Written, ...]) -> Fields:
        """What a base passes on: an entry of the same file, a preset, or an entry of any file."""
        kind, start = written.kind, chain[0].where
        for family, file in ((written.family, written.file), (self._presets, Path("presets.yaml"))):
            if base in getattr(family, kind):
                return self._passed_on(Written(kind, base, file, family), chain)
        if base in self._written[kind]:
            return self._passed_on(self._written[kind][base], chain)
        known = self._known[kind]
        if base not in known:
            names = {*getattr(written.family, kind), *getattr(self._presets, kind), *self._written[kind], *known}
            raise RegistryError(f"{start}: unknown base '{base}'{near(base, names, abstract=base.startswith('_'))}")
        entry = known[base]
        return _as_base(entry.weights) if entry.weights is not None else entry.spec

    def _passed_on(self, base: Written, chain: tuple[Written, ...]) -> Fields:
        if base in chain:
            circle = " -> ".join([*(link.name for link in chain), base.name])
            raise RegistryError(f"{chain[0].where}: base goes in a circle: {circle}")
        found = self._inherit(base, chain)
        if base.kind == "weights" and not base.name.startswith("_") and base.family is not chain[-1].family:
            found = _laid_out(found, base.family)
        return {key: value for key, value in found.items() if key not in OWN[base.kind]}


def read_family(file: Path) -> FamilyFile:
    """A registry's file; the name of the file is the family's."""
    data = read_yaml(file)
    if isinstance(data, Mapping):
        data = {"family": file.stem, **data}
    return checked(FamilyFile.parse, data, str(file))


def checked(parse: Callable[[Fields, str], T], fields: Fields, where: str) -> T:
    try:
        return parse(fields, where)
    except SpecError as error:
        raise RegistryError(str(error)) from None


def merge(base: Fields, own: Fields) -> dict[str, Any]:
    """Mappings are merged, all else is replaced, lists too."""
    merged = dict(base)
    for key, value in own.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _bases(written: Written) -> list[str]:
    base = written.fields.get("base", [])
    names = [base] if isinstance(base, str) else base
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RegistryError(f"{written.where}: base is a name or a list of names, found {base!r}")
    return names


def _aliases(written: Written, first: Sequence[str] = ()) -> tuple[str, ...]:
    aliases = written.fields.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise RegistryError(f"{written.where}: aliases is a list of names, found {aliases!r}")
    return (*first, *aliases)


def _hosted_by_timm(written: Written, merged: Fields) -> dict[str, Any]:
    """`timm: arch` or `timm: arch.tag` as the first of the sources.

    An architecture alone is what timm takes for that name by default: it has this entry's tag there (without the size,
    which timm has in the architecture), and the architecture is another name of this entry.
    """
    name, value = written.name, written.fields["timm"]
    if name.startswith("_") or not isinstance(value, str):
        raise RegistryError(f"{written.where}: timm names what one entry is in timm, arch or arch.tag; found {value!r}")
    size = merged.get("spec", {}).get("img_size")
    tag = name.partition(".")[2].removesuffix(f"_{size}")
    repo = f"timm/{value}" if "." in value else f"timm/{value}.{tag}"
    return {"sources": [{"repo": repo}, *(written.fields.get("sources") or [])]}


def _completed(written: Written, fields: Fields, model: Entry) -> Entry:
    """What follows from the rest is filled in: kinds and layouts of sources, classes from labels, parameters."""
    fields = dict(fields)
    timm = str(written.fields.get("timm", ""))
    fields["aliases"] = _aliases(written, (timm,) if timm and "." not in timm else ())
    stated, classes = fields.pop("params", None), label_sets.count(fields.get("labels"))
    changed = fields.get("spec") or {}
    if classes is not None and isinstance(changed, Mapping) and "num_classes" not in changed:
        # Weights whose classes have names have a classifier, in the place of their model's projection.
        classifier = {"head": "linear", "out_dim": None} if model.spec["out_dim"] is not None else {}
        changed = {**classifier, **changed, "num_classes": classes}
    whole = merge(model.spec, changed) if isinstance(changed, Mapping) else model.spec
    spec = checked(ViTSpec.parse, whole, written.where)
    params, plain = count_parameters(spec), spec.model_dump(mode="json")
    if isinstance(changed, Mapping):
        fields["spec"] = {key: value for key, value in changed.items() if plain.get(key) != model.spec.get(key)}
    entry = checked(WeightsEntry.parse, {**fields, "params": params}, written.where)
    if stated not in (None, params):
        raise RegistryError(f"{written.where}: params is {stated!r}, and the spec has {params}; leave it out")
    if classes is not None and classes != spec.num_classes:
        raise RegistryError(
            f"{written.where}: labels has {classes} names, and num_classes is {spec.num_classes}; change one of them"
        )
    macs, published = count_macs(spec), entry.model_dump(mode="json")
    return Entry(written.name, str(written.file), plain, params, macs, entry.aliases, published)


def _laid_out(fields: Fields, family: FamilyFile) -> dict[str, Any]:
    """Each source with its layout: its own, the entry's or the family's."""
    found = {key: value for key, value in fields.items() if key != "layout"}
    if isinstance(sources := found.get("sources"), list):
        found["sources"] = [_source(source, fields.get("layout") or family.layout) for source in sources]
    return found


def _source(written: Any, layout: str | None) -> Any:
    """A source with its kind, which shows in its fields, and its layout, which is the entry's if it has none."""
    if not isinstance(written, Mapping):
        return written
    kind = "hub" if "repo" in written else "url" if "url" in written else "bundled"
    said = {"layout": layout} if layout is not None and written.get("kind", kind) != "bundled" else {}
    return {"kind": kind, **said, **written}


def _as_base(weights: Fields) -> dict[str, Any]:
    """What resolved weights pass on: all but what is their own and what follows from the rest."""
    found = {key: value for key, value in weights.items() if key not in OWN["weights"]}
    classes = label_sets.count(found["labels"])
    found["spec"] = {k: v for k, v in found["spec"].items() if k != "num_classes" or v != classes}
    return found
