"""`vitzoo info`: what a model is. It does not import torch, unless it is asked about a file."""

import json

from vitzoo import registry
from vitzoo.cli.options import AsJson, Drop, Layout, Like, ModelArgument, Prefix, Set, Wrapper, fields
from vitzoo.cli.tables import columns, millions
from vitzoo.errors import SpecError
from vitzoo.registry.describe import Info
from vitzoo.registry.describe import info as lookup
from vitzoo.registry.digests import digest_in_words
from vitzoo.registry.figures import Figure
from vitzoo.registry.reference import Name, parse, place_of


def info(
    name: ModelArgument,
    layout: Layout = None,
    like: Like = None,
    wrapper: Wrapper = None,
    prefix: Prefix = None,
    drop: Drop = None,
    settings: Set = None,
    as_json: AsJson = False,
) -> None:
    """Show what a model is: the shape of every stage, parameters, multiply-adds, weights; a file's load report."""
    report: str | None = None
    pictures: tuple[str, ...] = ()
    reference = parse(name)
    if not isinstance(reference, Name) or reference.revision is not None:
        from vitzoo.images.transform import preprocess
        from vitzoo.publish.dialect import create

        model = create(
            reference, layout=layout, like=like, wrapper=wrapper, prefix=prefix, drop=drop or (), **fields(settings)
        )
        report = str(model.load_report)
        pictures = preprocess(model).steps
        found = Info(str(reference), model.spec, preprocessing=model.preprocessing)
    elif layout or like or wrapper or prefix or drop or settings:
        options = "--layout, --like, --wrapper, --prefix, --drop and --set"
        raise SpecError(f"{options} describe a checkpoint, and '{name}' is a name; leave them out")
    else:
        found = lookup(reference.name)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    print(f"{found.name}\n")
    print(columns([(f"  {stage.name}", stage.shape) for stage in found.stages]))
    print()
    print(columns([*_facts(found), *(("" if number else "  pictures", step) for number, step in enumerate(pictures))]))
    if found.tags:
        print("\n  weights (the first is the default):")
        for tag in found.tags:
            print(f"    {tag}  {registry.record(tag).license}")
    if found.figures:
        print("\n  published (--json has the sources):")
        print(columns([_figure(one) for one in found.figures], right=(1,)))
    if report is not None:
        print(f"\n{report}")


def _figure(figure: Figure) -> tuple[str, str, str, str]:
    """What was measured, at which size, and who did it."""
    measure = registry.measures()[figure.measure]
    return (
        f"    {measure['title']}",
        f"{figure.value:,.10g} {measure['unit']}",
        f"at {figure.img_size} px",
        f"{measure['measured_by']}, {measure['published']}",
    )


def _facts(found: Info) -> list[tuple[str, str]]:
    """Counts, and what is known of weights of the registry."""
    facts = [
        ("  parameters", f"{found.params:,} ({millions(found.params)})"),
        ("  multiply-adds", f"{found.macs / 1e9:.2f} G"),
    ]
    if found.weights is not None:
        entry = found.weights
        facts += [("  license", entry.license), ("  resampling", entry.resample.value)]
        for source in entry.sources:
            facts += [("  source", f"{place_of(source)} (layout {source.layout})"), ("", digest_in_words(source))]
        facts += [("  " + key, text) for key, text in (("origin", entry.origin), ("note", entry.note)) if text]
    return facts
