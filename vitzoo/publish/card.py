"""The card of a model: the README.md that the hub shows, with nothing in it that is not known.

The front matter follows https://github.com/huggingface/hub-docs/blob/main/modelcard.md; huggingface_hub writes it.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vitzoo.errors import LayoutError, WeightsError
from vitzoo.files.atomic import replacing
from vitzoo.images.transform import preprocess
from vitzoo.markdown import code, page, said, size, table
from vitzoo.model import TimmDialect
from vitzoo.publish.results import Results, read_results
from vitzoo.publish.snippets import SNIPPETS, Place, task_of
from vitzoo.registry.describe import count_macs, count_parameters
from vitzoo.registry.licenses import HUB_LICENSES, license_to_publish
from vitzoo.registry.provenance import entry_of, repo_of
from vitzoo.spec import PERMISSIVE, Origin, Result, TaskKind, ViTSpec

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

LIBRARIES = {"vitzoo": "vitzoo", "huggingface": "transformers", "timm": "timm"}
"""From the layouts that the hub's readers know to the library that reads each, as the hub names it."""

LICENSE_PAGES = {"dinov3-license": "https://ai.meta.com/resources/models-and-libraries/dinov3-license"}
SIZES = ("img_size", "patch_size", "in_chans", "hidden_dim", "depth", "num_heads", "mlp_dim", "num_classes", "out_dim")
LENGTHS = ("img_size", "patch_size", "ref_grid")
MOST_NAMES = 20
KNOWS = {
    TaskKind.CLASSES: "It knows {:,} classes",
    TaskKind.ORDINAL: "It knows {:,} grades, from the lowest",
    TaskKind.MULTI_LABEL: "It gives any of {:,} labels, each by its own sigmoid",
    TaskKind.REGRESSION: "It gives {:,} numbers and no classes",
}
MOST_TENSORS = 8


def write_card(
    model: TimmDialect,
    folder: str | os.PathLike[str],
    *,
    repo: str | None = None,
    revision: str | None = None,
    layout: str = "vitzoo",
    license: str | None = None,
    results: Results = None,
) -> Path:
    """Write README.md beside the `model.safetensors` of `folder`, which holds `model` in `layout`; returns its path.

    Args:
        repo, revision: where the folder will be on the hub; if not given, the card is for the folder as it is.
        layout: "vitzoo", "huggingface" or "timm".
        license: as the hub spells it; that of the weights if not given.
        results: what was measured: `{"dataset": "CIFAR-10", "split": "test", "metrics": {"accuracy": 0.78}, "method":
            "..."}`, or several of these; what `model.about` says was published of it if not given.

    Raises:
        LicenseError: no licence is known, or another than the weights allow.
        SpecError: results that are not what they should be.
        LayoutError: a layout that the hub's readers do not know.
        WeightsError: the folder does not hold the model.
    """
    from huggingface_hub import ModelCard

    check_layout(layout)
    folder, license = Path(folder), license_to_publish(model.about, license)
    measured = read_results(results) or model.about.published
    for needed in ("model.safetensors", *(() if layout == "vitzoo" else ("config.json",))):
        if not (folder / needed).is_file():
            raise WeightsError(f"{folder} has no {needed}; write the model there first (vitzoo.save), then its card")
    place = Place(repo, revision) if repo is not None else Place.of(folder)
    body = _body(model, folder, place, layout, license, measured)
    front = _front_matter(model, place, layout, license, measured).to_yaml()
    with replacing(folder / "README.md") as partial:
        ModelCard(f"---\n{front}\n---\n\n{body}").save(partial)
    return folder / "README.md"


def _body(model: TimmDialect, folder: Path, place: Place, layout: str, license: str, measured: Sequence[Result]) -> str:
    return page(
        [f"# {place.name.rpartition('/')[2]}"],
        [_summary(model)],
        ["## Use"],
        ["```python", *SNIPPETS[layout](model, place, folder), "```"],
        [] if layout == "vitzoo" else [f'`vitzoo.create("{place.address}")` reads these files too.'],
        ["## Weights"],
        [*_weights(model, folder)],
        *([["## Training"], [*_training(model.about.training)]] if model.about.training else []),
        ["## Architecture"],
        [_fields(model.spec)],
        ["## Preprocessing"],
        [f"- {step.strip()}" for step in repr(preprocess(model)).splitlines()[1:-1]],
        *([["## Results"], *map(_result, measured)] if measured else []),
        ["## Licence"],
        [_license(model, license)],
    )


def check_layout(layout: str) -> None:
    """Refuse layouts that no reader of the hub knows."""
    if layout not in LIBRARIES:
        raise LayoutError(
            f"'{layout}' cannot be published; expected {', '.join(LIBRARIES)} (`vitzoo convert` has more)"
        )


def _front_matter(
    model: TimmDialect, place: Place, layout: str, license: str, results: Sequence[Result]
) -> "ModelCardData":
    from huggingface_hub import EvalResult, ModelCardData

    task, base, listed = task_of(model), repo_of(_start(model)), license in HUB_LICENSES
    measured = [
        EvalResult(
            task_type=task,
            dataset_type=result.dataset_id or re.sub(r"[^a-z0-9]+", "-", result.dataset.lower()).strip("-"),
            dataset_name=result.dataset,
            dataset_split=result.split,
            metric_type=metric,
            metric_value=value,
        )
        for result in results
        for metric, value in result.metrics.items()
    ]
    return ModelCardData(
        base_model=None if base == place.name else base,
        library_name=LIBRARIES[layout],
        license=license if listed else "other",
        license_name=None if listed else license,
        license_link=LICENSE_PAGES.get(license),
        pipeline_tag=task,
        tags=["vision-transformer", "vitzoo"],
        model_name=place.name.rpartition("/")[2] if measured else None,
        eval_results=measured or None,
    )


def _summary(model: TimmDialect) -> str:
    spec, names = model.spec, model.labels
    text = (
        f"A Vision Transformer for pictures of {size(spec.img_size)} pixels, with "
        f"{count_parameters(spec) / 1e6:,.2f} million parameters "
        f"and {count_macs(spec) / 1e9:,.2f} billion multiply-adds."
    )
    if (prepared := model.preprocessing.img_size) is not None:
        text += f" Pictures are prepared at {size(prepared)} pixels, and the positions are resampled for them."
    if spec.out_dim is not None:
        text += (
            f" It gives an embedding of {spec.out_dim} numbers, which is compared with those of other pictures or of "
            "the texts that its partner was trained with (zero-shot classification)."
        )
    if names is not None:
        more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
        text += f" {KNOWS[model.about.kind].format(len(names))}: {', '.join(map(said, names[:MOST_NAMES]))}{more}."
    return text


def _weights(model: TimmDialect, folder: Path) -> Iterator[str]:
    origin, report = _start(model), model.load_report
    entry = entry_of(origin)
    name = f"`{origin.name}`" if entry is not None else said(origin.name or "")
    start = ", ".join(text for text in (name, entry and entry.origin, said(origin.note or "")) if text)
    how = "fine-tuned" if model.about.derived_from is not None else "started"
    yield f"- {how} from: {start or said(origin.place or 'not recorded')}"
    if start and origin.place:
        yield f"- its file: {code([origin.place])}"
    if origin.sha256:
        yield f"- its sha256: `{origin.sha256}`"
    if report is not None:
        yield f"- tensors, as read from layout `{report.layout}`: " + ", ".join(
            f"{number} {action}" for action, number in report.counts.items()
        )
    with (folder / "model.safetensors").open("rb") as file:
        yield f"- sha256 of `model.safetensors` here: `{hashlib.file_digest(file, 'sha256').hexdigest()}`"
    changed = [row for row in report.rows if row.action != "loaded"] if report is not None else []
    if changed:
        rows = [(code([row.tensor]), row.action, row.detail) for row in changed[:MOST_TENSORS]]
        yield from ("", *table(("tensor", "action", "detail"), rows))
        if len(changed) > MOST_TENSORS:
            yield from ("", f"and {len(changed) - MOST_TENSORS} more.")


def _start(model: TimmDialect) -> Origin:
    """What the weights are or were fine-tuned from, as far as it is anybody's business."""
    start = model.about.derived_from or model.about.origin
    return (start.public() if start is not None else None) or Origin()


def _training(training: Mapping[str, Any]) -> Iterator[str]:
    """The data's name, and all else folded away: a recipe is long."""
    if "data" in training:
        yield from (f"On `{Path(training['data']).name}`.", "")
    yield from ("<details><summary>How</summary>", "", "```yaml")
    told = {key: value for key, value in training.items() if key not in ("data", "start")}
    yield yaml.safe_dump(told, sort_keys=False).rstrip()
    yield from ("```", "", "</details>")


def _fields(spec: ViTSpec) -> str:
    """The sizes, and whatever is not as it is in the first Vision Transformer."""
    values = spec.model_dump(mode="json")
    rows = [
        (f"`{name}`", _value(name, values[name]))
        for name, about in type(spec).model_fields.items()
        if (name in SIZES or getattr(spec, name) != about.default) and values[name] is not None
    ]
    return "\n".join(table(("field", "value"), rows))


def _value(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(key, one)}" for key, one in value.items() if one not in (None, False))
    if isinstance(value, list):
        return ("x" if name in LENGTHS else ", ").join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _result(result: Result) -> list[str]:
    where = said(result.dataset) + (f", {result.split}" if result.split else "")
    rows = [(name, f"{value:g}") for name, value in result.metrics.items()]
    return [*table((where, "value"), rows, numbers=("value",)), *(("", result.method) if result.method else ())]


def _license(model: TimmDialect, license: str) -> str:
    address = LICENSE_PAGES.get(license)
    text = f"[{license}]({address})" if address else f"`{license}`"
    if license not in PERMISSIVE:
        text += ", which restricts what may be done with the weights: read it before you use them or pass them on"
    if model.license not in (None, license):
        text += f". The weights that these started from are under `{model.license}`"
    return f"{text}."
