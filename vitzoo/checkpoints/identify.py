"""What a checkpoint is: from its tensors, the configuration beside it, the registry and the caller, and why.

Each layout that explains the tensors is a candidate: names and shapes leave some values of each field of a spec, and
every fact removes more. As long as candidates are left that compute different functions, the answer is an error that
asks for what tells them apart. Nothing is guessed; what is assumed is said.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from vitzoo import registry
from vitzoo.checkpoints.credits import credited
from vitzoo.checkpoints.facts import facts, field_value, narrowed
from vitzoo.checkpoints.meaning import Meaning
from vitzoo.checkpoints.reading import Sizes
from vitzoo.checkpoints.settle import Said, Settled, settle, spec_of
from vitzoo.checkpoints.tensors import NativeTensors
from vitzoo.errors import Argument, LayoutError, MissingFile, SpecError, WeightsError
from vitzoo.files.read import Reading, open_tensors
from vitzoo.files.tensor_file import TensorFile
from vitzoo.layouts.beside import Beside, read_beside
from vitzoo.layouts.candidate import Candidate
from vitzoo.layouts.detect import detect
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.native import described
from vitzoo.layouts.tables import LAYOUTS, NATIVE, NATIVES, get_layout
from vitzoo.layouts.tables import named as tables_named
from vitzoo.registry.licenses import check_license, strictest
from vitzoo.registry.reference import Address, File, Name, Repository, Typed, named, parse
from vitzoo.sources.fetch import Fetched
from vitzoo.sources.obtain import obtain
from vitzoo.spec import About, Head, Origin, ViTSpec
from vitzoo.spec.keywords import unknown_field

TRIES = 3


class Assumed(UserWarning):
    """Something was taken for granted of a checkpoint that nothing says."""


@dataclass
class Identified:
    """A checkpoint whose layout and architecture are known."""

    file: TensorFile
    layout: Layout
    spec: ViTSpec
    about: About = field(default_factory=lambda: About())
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What the caller wants otherwise than the file has it."""
    because: tuple[str, ...] = ()
    """Where each part of the answer comes from, in words."""
    prefix: str | None = None
    """What the caller says to stand in front of the model's tensors."""
    assumed: tuple[str, ...] = ()
    """What nothing says and was taken for granted; it is among `because`, too."""

    def tensors(self, blank: bool = False) -> NativeTensors:
        """The native tensors, each computed when it is asked for."""
        return NativeTensors(self.file, self.layout, self.spec, blank, self.prefix)


@dataclass(frozen=True)
class Told:
    """What the caller says of a file: names a layout or a group of them, weights of the registry that have its
    architecture, what stands in front of its tensors' names, and the size of the pictures that its table is for."""

    layout: str | None = None
    like: str | None = None
    prefix: str | None = None
    img_size: Any = None
    listed: frozenset[str] | None = None
    """The files beside it that may be read: those that were fetched and verified. Of a local file all may be."""


NOTHING = Told()


def identified(
    source: Typed,
    given: Mapping[str, Any],
    told: Told = NOTHING,
    reading: Reading | None = None,
    allow_licenses: Collection[str] | None = None,
) -> Identified:
    """What a checkpoint file or folder, an address, a hub repository or weights of the registry are; see `identify`.

    `reading` says how the file is read, and what of it, as `open_tensors` takes it.

    Raises:
        LicenseError: weights under a licence that `allow_licenses` does not name; before anything is fetched, or of a
            repository that the registry does not know, anything but its card.
    """
    reading = reading or Reading()
    reference = parse(source)
    if isinstance(reference, File):
        found = identify(open_tensors(reference.path, **reading), given, told)
        check_license(str(reference), found.about.license, allow_licenses)
    else:
        found = _fetched(reference, given, told, reading, allow_licenses)
    return _new_head(found, given)


def _fetched(
    reference: Name | Repository | Address,
    given: Mapping[str, Any],
    told: Told,
    reading: Reading,
    allow_licenses: Collection[str] | None,
) -> Identified:
    """What weights are that are not known by a path; fetched again where somebody tidied the cache in between."""
    for left in reversed(range(TRIES)):
        full, fetched = obtain(reference, allow_licenses)
        try:
            file = open_tensors(fetched.path, **reading)
            if full is not None:
                return _registered(full, fetched, file, given, told.prefix)
            listed = frozenset(one.path.name for one in fetched.files)
            found = identify(file, given, replace(told, listed=listed))
            license = strictest((found.about.license, fetched.license))
            found.about = found.about.replace(license=license, origin=fetched.origin)
            found.because += fetched.because
            break
        except MissingFile:
            if not left:
                raise
    check_license(str(reference), found.about.license, allow_licenses)
    return found


def _new_head(found: Identified, given: Mapping[str, Any]) -> Identified:
    """The same; but who gives a kind of head, and not its outputs, says what the file has, and that has to be so."""
    head = found.changes.get("head", found.spec.head)
    if head != found.spec.head and not given.keys() & {"num_classes", "out_dim"}:
        raise WeightsError(
            f"{found.file.path}: head is {found.spec.head} in the tensors, and {head} was given; leave ",
            Argument("head"),
            " out, or for a new head give as well ",
            Argument("num_classes"),
        )
    return found


def _registered(
    full: str, fetched: Fetched, file: TensorFile, given: Mapping[str, Any], prefix: str | None
) -> Identified:
    """An entry of the registry says what its files are."""
    assert fetched.source is not None
    return Identified(
        file,
        get_layout(fetched.source.layout),
        registry.entry_spec(full),
        about_entry(full, fetched.origin),
        changes=given,
        because=fetched.because,
        prefix=prefix,
    )


def about_entry(name: str, origin: Origin | None = None) -> About:
    """What the registry knows of the weights `name`, which came from `origin`."""
    entry = registry.weights_entry(name)
    return About(
        preprocessing=entry.preprocessing,
        resample=entry.resample,
        labels=entry.labels,
        license=entry.license,
        origin=None if origin is None else origin.replace(name=name),
    )


def identify(file: TensorFile, given: Mapping[str, Any], told: Told = NOTHING) -> Identified:
    """Find out what `file` is; `given` are fields of the spec by name.

    Raises:
        LayoutError: no layout reads the file.
        WeightsError: the architecture is not certain, with what is open and what it could be; or what was said
            contradicts the tensors.
        SpecError: a given field does not exist, or does not take the value.
    """
    like = told.like if told.like is None or registry.knows(told.like) else named(told.like).name
    native = described(file.metadata, str(file.path))
    if native is not None:
        if wrong := _needless(told):
            raise WeightsError(f"{file.path} is a native file; leave ", wrong, " out")
        return Identified(file, NATIVES[native.format], native.spec, native.about, changes=given, prefix=told.prefix)
    if unknown := sorted(set(given) - set(ViTSpec.model_fields)):
        raise SpecError(unknown_field(unknown[0]))
    candidates, beside = _candidates(file, given, told)
    said = Said(str(file.path), facts(given, beside, _usual(beside)), _sizes(given, beside, told), like)
    settled = settle(narrowed(candidates, said.facts, said.where), said)
    return _identified(file, settled, given, beside, told, like)


def _needless(told: Told) -> Argument | None:
    """What was said of a file that says it itself."""
    if told.layout not in (None, NATIVE.name):
        return Argument("layout", told.layout)
    if told.like is not None:
        return Argument("like", told.like)
    return None if told.img_size is None else Argument("source_img_size", told.img_size)


def _candidates(file: TensorFile, given: Mapping[str, Any], told: Told) -> tuple[list[Candidate], Beside]:
    """The readings of a file in the layout that was named, in those of the configuration beside it, or in any.

    A configuration that names other layouts speaks of another file, and counts for nothing here.
    """
    beside = read_beside(file.path, told.listed)
    if told.layout is not None:
        group = tables_named(told.layout)
        own = [layout for layout in group if layout.name == told.layout]  # before the group of the same name
        tries = [own, group] if own and group[1:] else [group]
    else:
        tries = [beside.tables, list(LAYOUTS.values())] if beside.tables else [list(LAYOUTS.values())]
    found = _first(
        lambda layouts: detect(file.shapes, str(file.path), layouts, told.prefix, given.get("in_chans")), tries
    )
    names = {layout.name for layout in beside.tables}
    own_words = not names or any(one.layout.name in names for one in found)
    return found, beside if own_words else Beside(file=beside.file, of_another=True)


def _first(
    detected: Callable[[Sequence[Layout]], list[Candidate]], tries: Sequence[Sequence[Layout]]
) -> list[Candidate]:
    """What the first of several choices of layouts gives; the error of the first if none gives anything."""
    try:
        return detected(tries[0])
    except LayoutError as error:
        for layouts in tries[1:]:
            with suppress(LayoutError):
                return detected(layouts)
        raise error


def _usual(beside: Beside) -> ViTSpec | None:
    """The architecture that the configuration beside a file names."""
    return spec_of(beside.name) if beside.name is not None and registry.knows(beside.name) else None


def _sizes(given: Mapping[str, Any], beside: Beside, told: Told) -> Sizes:
    of_file = told.img_size if told.img_size is not None else beside.fields.get("img_size")
    values = (of_file, given.get("img_size"))
    return Sizes(*(None if value is None else field_value("img_size", value) for value in values))


def _identified(
    file: TensorFile, settled: Settled, given: Mapping[str, Any], beside: Beside, told: Told, like: str | None
) -> Identified:
    """One of the readings, with what the caller wants otherwise, and what is known beside the architecture."""
    projected = (one for one in settled.readings if one.spec.head is Head.PROJECTION)
    first = next(projected, settled.readings[0])
    layouts = list(dict.fromkeys([first.candidate.layout.name, *(layout.name for layout in settled.layouts)]))
    wanted = first.spec.replace(**given)
    changes = {name: value for name, value in given.items() if getattr(wanted, name) != getattr(first.spec, name)}
    because = [f"layout {layouts[0]} ({first.candidate.layout.origin})", *_sources(given, beside, changes)]
    because += [f"as in {like}, which was given"] if like is not None else []
    because += (
        [f"{beside.file} names another layout than the file is in, and was not read"] if beside.of_another else []
    )
    because += settled.because
    if layouts[1:]:
        because.append(f"layout {', '.join(layouts[1:])} would read the same")
    known = [name for name in settled.entries if name != beside.name]
    meaning = Meaning.of(first, settled.layouts, _entries_of(like) if like is not None else known, beside)
    return Identified(
        file,
        first.candidate.layout,
        first.spec,
        meaning.about.replace(**credited(file, beside, told.listed is not None)),
        changes,
        (*because, *meaning.because, *first.assumed, *meaning.assumed),
        told.prefix,
        meaning.assumed,
    )


def _sources(given: Mapping[str, Any], beside: Beside, changes: Mapping[str, Any]) -> list[str]:
    """Which fields were given, and which the configuration says."""
    own = [name for name in given if name not in changes]
    others = [name for name in beside.fields if name not in given]
    return [
        f"{', '.join(names)}: {where}" for where, names in (("given", own), (f"from {beside.file}", others)) if names
    ]


def _entries_of(name: str) -> list[str]:
    """The weights that a name of the registry stands for."""
    found = registry.resolve(name)
    return registry.entries_of(name) if found.tag is None else [found.name]
