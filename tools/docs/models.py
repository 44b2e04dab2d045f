"""docs/models.md, a table of all architectures, and docs/families/<family>.md with the weights of each."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tools.docs.sections import proving
from tools.proofs import Proof
from vitzoo import registry
from vitzoo.layouts.tables import GROUPS
from vitzoo.markdown import code, page, size, table
from vitzoo.registry.describe import count_macs, count_parameters
from vitzoo.registry.families import read_family
from vitzoo.spec import BundledSource, FamilyFile, HubSource, Source, UrlSource, ViTSpec, WeightsEntry

TIMM = GROUPS["timm"]
FAMILIES = Path(__file__).parents[2] / "registry" / "families"

TAGS = "every tag of timm's plain ViTs: fields, tensor names and shapes, parameters"
FACTS = "every tag of timm's plain ViTs: preprocessing, sizes, classes, licences, addresses, defaults"
OUTPUTS = "outputs of every architecture signature, native, larger and rectangular, shrunk and randomised"
SOURCES = "the layout of each source can express what its entry says"
"""Claims of tests, in the words of their marks."""

HEADER = """# Models

Written by `python -m tools.docs` from `registry/`; do not edit. Parameters and multiply-adds are counted at the size
in the row, with the model's own classifier. A family's page has its weights, licences, sources and other names."""


@cache
def families() -> tuple[FamilyFile, ...]:
    """The registry's families, by name."""
    files = sorted(FAMILIES.glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"{FAMILIES} holds no families; write the pages in a checkout of vitzoo")
    return tuple(map(read_family, files))


def models_of(family: FamilyFile) -> list[str]:
    """The models that can be created, in the order of the file."""
    return [name for name in family.models if not name.startswith("_")]


def from_timm(entry: WeightsEntry) -> bool:
    """Whether timm reads these weights from the hub, so that the tests compare the entry with timm's own."""
    return any(isinstance(source, HubSource) and source.layout in TIMM for source in entry.sources)


def models_page() -> str:
    """One table of all architectures."""
    home = {name: family.family for family in families() for name in models_of(family)}
    rows = []
    for name in (name for name in registry.list_models() if name in home):
        weights = len(registry.list_pretrained(f"{name}.*"))
        rows.append((*_row(name), weights, f"[{home[name]}](families/{home[name]}.md)"))
    total = f"{len(rows)} architectures of {len(families())} families, {sum(row[-2] for row in rows)} weights."
    head = ("model", "parameters", "multiply-adds", "size", "weights", "family")
    return page([HEADER], [total], table(head, rows, head[1:5]))


def _row(name: str) -> tuple[str, str, str, str]:
    spec = registry.model_spec(name)
    return f"`{name}`", f"{count_parameters(spec):,}", f"{count_macs(spec) / 1e9:.2f} G", size(spec.img_size)


def family_page(family: FamilyFile, proofs: Sequence[Proof]) -> str:
    """What the family is, its architectures, its weights, and what the tests say of them."""
    facts = [f"- paper: <{family.paper}>"] if family.paper else []
    facts += [f"- authors' code: <{family.origin}>"] if family.origin else []
    return page(
        [f"# {family.title}"],
        ["Written by `python -m tools.docs` from `registry/`; do not edit."],
        [(family.about or "").strip()],
        facts,
        ["## Architectures"],
        _architectures(family),
        [f"Published: {'; '.join(published.source for published in family.published)}."] if family.published else [],
        ["## Weights"],
        *_weights(family),
        ["## How they are verified"],
        _verified(family, proofs),
    )


def _architectures(family: FamilyFile) -> list[str]:
    printed = {name: params for published in family.published for name, params in published.params.items()}
    rows = []
    for name in models_of(family):
        spec = registry.model_spec(name)
        said = (f"{printed[name]:,g} M" if name in printed else "",) if printed else ()
        shape = (spec.hidden_dim, spec.depth, spec.num_heads, spec.mlp_dim, _classes(spec))
        cells = _row(name)
        rows.append((*cells[:2], *said, *cells[2:], size(spec.patch_size), *shape))
    numbers = ("parameters", *(("published",) if printed else ()), "multiply-adds", "size", "patch")
    numbers += ("width", "depth", "heads", "MLP", "classes")
    return table(("model", *numbers), rows, numbers)


def _classes(spec: ViTSpec) -> str | int:
    return spec.output if spec.out_dim else spec.num_classes


def _weights(family: FamilyFile) -> list[list[str]]:
    """The table, and the notes that its last column numbers."""
    notes: dict[str, int] = {}
    rows = []
    for name in (name for model in models_of(family) for name in registry.list_pretrained(f"{model}.*")):
        entry, spec = registry.weights_entry(name), registry.entry_spec(name)
        note = f"[{notes.setdefault(entry.note, len(notes) + 1)}]" if entry.note else ""
        rows.append(
            (
                f"`{name}`",
                f"{entry.params:,}",
                size(spec.img_size),
                _classes(spec) or "-",
                entry.license,
                "; ".join(f"{_place(source)}, `{source.layout}`" for source in entry.sources),
                f"`{entry.resample}`",
                code(entry.aliases),
                note,
            )
        )
    if not rows:
        return [["None were published."]]
    head = ("name", "parameters", "size", "classes", "licence", "source, layout", "resampling", "other names", "note")
    about = (
        "The first weights of a model are its default. A source's repository is a name too. "
        "[Layouts](../layouts.md) and [resampling](../resampling.md) explain their columns."
    )
    return [[about], table(head, rows, head[1:4]), [f"{number}. {text.strip()}" for text, number in notes.items()]]


def _place(source: Source) -> str:
    match source:
        case HubSource():
            return source.repo
        case UrlSource():
            return f"<{source.url}>"
        case BundledSource():
            return f"in the package: `{source.file}`"


def _verified(family: FamilyFile, proofs: Sequence[Proof]) -> list[str]:
    names = [name for model in models_of(family) for name in registry.list_pretrained(f"{model}.*")]
    entries = [registry.weights_entry(name) for name in names]
    timm, page = sum(map(from_timm, entries)), Path("docs/families") / f"{family.family}.md"
    layouts = sorted({source.layout for entry in entries for source in entry.sources})
    lines = []
    if timm:
        lines.append(
            f"- {timm} of {len(names)} entries are also timm's: architecture, names and shapes of tensors and "
            f"parameters are compared with timm ({proving(TAGS, page, proofs)}, which lists what is meant to differ), "
            f"preprocessing and licences too ({proving(FACTS, page, proofs)}), and outputs of shrunk random models "
            f"({proving(OUTPUTS, page, proofs)})."
        )
    if layouts:
        lines += [
            "- The layout of each source can express what the entry says; the exceptions are listed with their reasons "
            f"({proving(SOURCES, page, proofs)}).",
            f"- [What each layout was compared with](../layouts.md#what-was-compared): {code(layouts)}.",
        ]
    if not any(isinstance(source, BundledSource) for entry in entries for source in entry.sources):
        lines.append("- Published files of weights were not downloaded.")
    return lines
