"""What a checkpoint is: from its tensors, the config.json beside it, the registry and the caller, and why.

Shapes show most of an architecture. What they do not show (the number of heads, eps, the activation, rotary settings)
is taken from the caller, else from config.json, else from the registry's entries that have this layout and agree with
all that is known. Where these disagree among themselves they are listed and the caller chooses. Nothing is guessed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vitzoo import registry
from vitzoo.checkpoints.native import described
from vitzoo.checkpoints.tensors import NativeTensors
from vitzoo.errors import Argument, LayoutError, SpecError, WeightsError
from vitzoo.files.read import Reading, open_tensors
from vitzoo.files.tensor_file import TensorFile
from vitzoo.layouts.beside import Beside, read_beside
from vitzoo.layouts.detect import Shown, detect
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.tables import GROUPS, LAYOUTS, NATIVES, get_layout
from vitzoo.registry.licenses import check_license
from vitzoo.registry.reference import File, Typed, named, parse
from vitzoo.sources.fetch import Fetched
from vitzoo.sources.obtain import obtain
from vitzoo.spec import About, Head, Origin, Preprocessing, Rope, ViTSpec
from vitzoo.spec.keywords import unknown_field

# A caller who gives another value of these wants the weights adapted. Of all else the file has the only one.
ADAPTABLE = frozenset(
    {"num_classes", "in_chans", "img_size", "patch_size", "pool", "head", "out_dim", "drop_path_rate"}
)
# These change how a model trains, not what it computes. (Whether positions are learned or fixed; none shows.)
TRAINING = frozenset({"layer_scale", "drop_path_rate", "pos_embed"})


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

    def tensors(self, blank: bool = False) -> NativeTensors:
        """The native tensors, each computed when it is asked for."""
        return NativeTensors(self.file, self.layout, self.spec, blank, self.prefix)


@dataclass(frozen=True)
class _Reading:
    """One complete way to read the file."""

    layout: Layout
    spec: ViTSpec
    entry: str | None
    because: tuple[str, ...]


def identified(
    source: Typed,
    given: Mapping[str, Any],
    layout: str | None = None,
    like: str | None = None,
    reading: Reading | None = None,
    allow_licenses: Collection[str] | None = None,
    prefix: str | None = None,
) -> Identified:
    """What a checkpoint file or folder, an address, a hub repository or weights of the registry are; see `identify`.

    `reading` says how the file is read, and what of it, as `open_tensors` takes it.

    Raises:
        LicenseError: weights under a licence that `allow_licenses` does not name; those of the registry before anything
            is fetched.
    """
    reading = reading or Reading()
    reference = parse(source)
    if isinstance(reference, File):
        found = identify(open_tensors(reference.path, **reading), given, layout, like, prefix)
    else:
        full, fetched = obtain(reference, allow_licenses)
        file = open_tensors(fetched.path, **reading)
        if full is not None:
            return _registered(full, fetched, file, given, prefix)
        found = identify(file, given, layout, like, prefix)
        found.about = found.about.replace(origin=fetched.origin)
        found.because += fetched.because
    check_license(str(reference), found.about.license, allow_licenses)
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


def identify(
    file: TensorFile,
    given: Mapping[str, Any],
    layout: str | None = None,
    like: str | None = None,
    prefix: str | None = None,
) -> Identified:
    """Find out what `file` is.

    `given` are fields of the spec by name; `layout` names a layout or a group of them; `like` names a model or weights
    of the registry that have the file's architecture; `prefix` is what stands in front of the model's tensors.

    Raises:
        LayoutError: no layout reads the file.
        WeightsError: the architecture is not certain, with what is open and what it could be; or `given` contradicts
            the tensors.
        SpecError: a given field does not exist.
    """
    if like is not None and not registry.knows(like):
        like = named(like).name
    native = described(file.metadata, str(file.path))
    if native is not None:
        if layout not in (None, "vitzoo") or like is not None:
            wrong = Argument("like", like) if layout in (None, "vitzoo") else Argument("layout", layout)
            raise WeightsError(f"{file.path} is a native file; leave ", wrong, " out")
        return Identified(file, NATIVES[native.format], native.spec, native.about, changes=given, prefix=prefix)
    if unknown := sorted(set(given) - set(ViTSpec.model_fields)):
        raise SpecError(unknown_field(unknown[0]))
    beside = read_beside(file.path)
    layout = layout or beside.layout
    tables = [get_layout(name) for name in GROUPS.get(layout, (layout,))] if layout else list(LAYOUTS.values())
    if like is None and beside.name is not None and registry.knows(beside.name):
        like = beside.name
    hints = {} if like is None else dict(_registered_spec(like))
    beside = _counted(beside, hints.get("out_dim"))
    stated = _stated(given, beside)
    hints |= {**beside.fields, **{name: value for name, value in stated.items() if name != "img_size"}}
    shown = detect(file.shapes, str(file.path), tables, given.get("img_size"), prefix, **hints)
    failures: list[str] = []
    readings = [reading for one in shown for reading in _readings(one, file, stated, beside, like, failures)]
    if failures and not readings:
        raise LayoutError(failures[0])
    found = _settled(file, shown, readings, given, beside, like)
    found.prefix = prefix
    return found


def _readings(
    shown: Shown,
    file: TensorFile,
    given: Mapping[str, Any],
    beside: Beside,
    like: str | None,
    failures: list[str],
) -> Iterator[_Reading]:
    """The complete specs that agree with all that is known, as one layout reads the file.

    Those whose tensors are not all there, or not all in shape, go to `failures`, with the difference.
    """
    shapes, where = file.shapes, str(file.path)
    said = {**beside.fields, **given}
    if _contradictions(shown, given, beside):
        return
    missing = [name for name in shown.open if name not in said]
    known = {**{name: said[name] for name in shown.open if name in said}, **shown.fields}
    sources = [
        f"{', '.join(names)}: {where}"
        for where, names in (
            ("given", [name for name in shown.open if name in given]),
            ("from config.json", [name for name in shown.open if name in beside.fields and name not in given]),
        )
        if names
    ]
    if missing and like is None:
        examples = registry.with_layout(shown.layout.name)
    else:
        examples = [like] if like is not None and missing else [None]  # type: ignore[list-item]
    for example in examples:
        fields, because = known, tuple(sources)
        if example is not None:
            # config.json names an architecture, and what is changed in it
            spec = _registered_spec(example).replace(**(beside.fields if example == beside.name else {}))
            if not _same(known if like is None else shown.fields, spec):
                continue
            taken = [*missing, *(["drop_remainder"] if "img_size" in missing else [])]
            taken += ["head", "out_dim", "num_classes"] if known["num_classes"] == (spec.out_dim or -1) else []
            fields = {**known, **{name: getattr(spec, name) for name in taken}}
            because += (f"{', '.join(missing)}: as in {example}, whose tensors are alike",)
        complete = ViTSpec.parse({**fields, **shown.widths(fields["num_heads"])}, f"layout '{shown.layout.name}'")
        binding = shown.layout.bind(complete)
        view = shown.view
        try:
            binding.check({name: shapes[key] for name, key in view.items()}, where)
        except LayoutError as error:
            failures.append(str(error))
            continue
        yield _Reading(shown.layout, complete, example, because)


def _counted(beside: Beside, out_dim: int | None) -> Beside:
    """timm's config.json counts an embedding's numbers as classes; the architecture that it names tells."""
    if out_dim is None or beside.fields.get("num_classes") != out_dim:
        return beside
    projection = {"head": Head.PROJECTION, "out_dim": out_dim, "num_classes": 0}
    return replace(beside, fields={**beside.fields, **projection})


def _registered_spec(name: str) -> ViTSpec:
    found = registry.resolve(name)
    return registry.model_spec(name) if found.tag is None else registry.entry_spec(name)


def _stated(given: Mapping[str, Any], beside: Beside) -> dict[str, Any]:
    """What the caller says of the file. Where config.json says what it has, another value is what the caller wants:
    4x4 patches are not read as 2x8."""
    return {name: value for name, value in given.items() if name not in ADAPTABLE or name not in beside.fields}


def _contradictions(shown: Shown, given: Mapping[str, Any], beside: Beside) -> list[str]:
    """What was said of the file and is not what its tensors show; a caller's other value may be an adaptation."""
    said = {**beside.fields, **given}
    wrong = [
        f"{name} is {value} in the tensors, and {said[name]} was {'given' if name in given else 'in config.json'}"
        for name, value in shown.fields.items()
        if name in said
        and name not in TRAINING
        and not (name in given and name in ADAPTABLE)
        and _plain(said[name], name) != value
    ]
    heads = said.get("num_heads")
    if heads is not None and shown.attn_dim % heads:
        where = "given" if "num_heads" in given else "in config.json"
        rows = f"the {shown.attn_dim} rows of the queries"
        wrong.append(f"{rows} are not divisible by num_heads {heads}, which was {where}")
    return wrong


def _same(known: Mapping[str, Any], spec: ViTSpec) -> bool:
    """Whether `spec` has all that is known of a file but its sizes and its classifier, which training may change."""
    free = {"head", "out_dim", "num_classes", "head_bias", "img_size", "drop_remainder", "in_chans", *TRAINING}
    if spec.head not in (known["head"], Head.LINEAR, Head.PROJECTION):  # these two are one layer by their shapes
        return False
    layer_scale = "layer_scale" not in known or (known["layer_scale"] is None) == (spec.layer_scale is None)
    return layer_scale and all(getattr(spec, name) == _plain(known[name]) for name in known if name not in free)


def _plain(value: Any, name: str = "") -> Any:
    """A value as the spec has it: lists are tuples, one length is a square, and the one nested field is a `Rope`."""
    if name in ("img_size", "patch_size") and isinstance(value, int):
        return (value, value)
    if isinstance(value, Mapping):
        return Rope.parse(value, "rope")
    return tuple(value) if isinstance(value, list) else value


def _settled(
    file: TensorFile,
    shown: Sequence[Shown],
    readings: Sequence[_Reading],
    given: Mapping[str, Any],
    beside: Beside,
    like: str | None,
) -> Identified:
    """One reading if all agree in what they compute; else an error that lists what the caller has to choose from."""
    if not readings:
        raise _nothing_fits(file, shown, given, beside, like)
    # One layer, by shapes: that of published weights which project to the same width is a projection.
    first = next((reading for reading in readings if reading.spec.head is Head.PROJECTION), readings[0])
    names = [name for name in ViTSpec.model_fields if name not in (*TRAINING, "head", "num_classes", "out_dim")]
    differing = [n for n in names if any(getattr(r.spec, n) != getattr(first.spec, n) for r in readings)]
    if differing:
        lines = [
            f"{reading.entry or f'layout {reading.layout.name}'}: "
            + ", ".join(f"{name}={getattr(reading.spec, name)}" for name in differing)
            for reading in readings
        ]
        shown_lines = "; ".join(list(dict.fromkeys(lines))[:12])
        raise WeightsError(
            f"{file.path} fits several architectures, which differ in {', '.join(differing)}: {shown_lines}. "
            "Give these fields, or one of the names as ",
            Argument("like", "..."),
        )
    wanted = first.spec.replace(**given)
    changes = {name: value for name, value in given.items() if getattr(wanted, name) != getattr(first.spec, name)}
    layouts = list(dict.fromkeys(reading.layout.name for reading in readings))
    because = (f"layout {layouts[0]} ({first.layout.origin})", *first.because)
    if layouts[1:]:
        because += (f"layout {', '.join(layouts[1:])} would read the same",)
    # timm's config.json names an architecture: it says nothing of whose weights these are.
    entries = list(dict.fromkeys(r.entry for r in readings if r.entry and r.entry != beside.name))
    return _with_meaning(Identified(file, first.layout, first.spec, changes=changes, because=because), entries, beside)


def _nothing_fits(
    file: TensorFile, shown: Sequence[Shown], given: Mapping[str, Any], beside: Beside, like: str | None
) -> WeightsError:
    one, said = shown[0], {**beside.fields, **given}
    if wrong := _contradictions(one, _stated(given, beside), beside):
        return WeightsError(f"{file.path}: {'; '.join(wrong)}")
    missing = ", ".join(name for name in one.open if name not in said)
    start = f"{file.path} is in layout '{one.layout.name}', but its tensors do not show {missing}"
    if like is not None:
        spec = _registered_spec(like)
        other = [f"{n} {v} (there {getattr(spec, n)})" for n, v in one.fields.items() if getattr(spec, n) != _plain(v)]
        return WeightsError(f"{start}, and it is not like {like}: it has {', '.join(other)}")
    return WeightsError(
        f"{start}, and no weights of the registry have its tensors. Give these fields, or ", Argument("like", "...")
    )


def _with_meaning(found: Identified, entries: Sequence[str], beside: Beside) -> Identified:
    """Preprocessing, policy and labels, where they are certain; the layout's own reader decides where they are not."""
    tagged = [name for name in entries if registry.resolve(name).tag is not None]
    same_size = [name for name in tagged if registry.entry_spec(name).grid == found.spec.grid]
    same_head = [name for name in same_size if registry.entry_spec(name).output_dim == found.spec.output_dim]
    tagged = same_head or same_size or tagged
    known = [registry.weights_entry(name) for name in tagged]
    policies = {entry.resample for entry in known}
    pictures = {entry.preprocessing for entry in known}
    about: dict[str, Any] = {"resample": policies.pop() if len(policies) == 1 else found.layout.resample}
    if beside.preprocessing is not None:
        about["preprocessing"] = Preprocessing.parse(beside.preprocessing, "the configuration beside the checkpoint")
    elif len(pictures) == 1:
        about["preprocessing"] = pictures.pop()
    else:
        found.because += ("preprocessing: not known, ImageNet's mean and standard deviation are taken",)
    classes = found.spec.num_classes
    names = {entry.labels for entry in known} if same_head else {None}
    if beside.labels is not None and len(beside.labels) == classes:
        about["labels"] = beside.labels
    elif len(names) == 1:
        about["labels"] = names.pop()
    found.about = About(**about)
    return found
