"""From a checkpoint to a model: import, resample, adapt, assign; and the report of it all. It fails closed."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from vitzoo.checkpoints.facts import ADAPTABLE
from vitzoo.checkpoints.tensors import NativeTensors, computes
from vitzoo.errors import Argument, WeightsError, joined, one_line
from vitzoo.files.tensor_file import some
from vitzoo.model import TimmDialect
from vitzoo.model.init import init_weights
from vitzoo.model.resample import resample_patch_kernel, resample_rel_pos, resample_table
from vitzoo.spec import About, Resample, Shape, ViTSpec

M = TypeVar("M", bound=TimmDialect)

CPU = torch.device("cpu")

# What a changed field of the spec lets go of: these tensors may be dropped from the source and made anew.
RENEWS = {
    "num_classes": ("head.fc.", "head.fc_dist."),
    "out_dim": ("head.proj.",),
    "head": ("head.",),
    "pool": ("pool.", "head.fc.", "head.proj."),
}


class Row(NamedTuple):
    """What happened to one tensor of the model or of the source."""

    tensor: str
    action: str  # loaded, resampled, adapted, re-initialised, dropped
    detail: str


@dataclass
class LoadReport:
    """Every tensor of the source and of the model, and what became of it."""

    source: str
    layout: str
    rows: list[Row] = field(default_factory=list)
    because: tuple[str, ...] = ()
    """How the layout and the architecture of a checkpoint file were found out."""

    def add(self, tensor: str, action: str, detail: str = "") -> None:
        self.rows.append(Row(tensor, action, detail))

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(row.action for row in self.rows))

    def __str__(self) -> str:
        """A line of totals, then a table of all that was not loaded unchanged."""
        lines = [f"{self.source} ({self.layout}): " + ", ".join(f"{n} {action}" for action, n in self.counts.items())]
        lines += self.because
        notable = [row for row in self.rows if row.action != "loaded"]
        if notable:
            widths = [max(len(cell) for cell in column) for column in zip(*notable, Row._fields, strict=True)]
            for row in [Row(*Row._fields), Row(*("-" * width for width in widths)), *notable]:
                lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return "\n".join(map(one_line, lines))


@torch.no_grad()
def load(
    kind: type[M],
    tensors: NativeTensors,
    target: ViTSpec,
    about: About,
    device: torch.device = CPU,
    generator: torch.Generator | int | None = None,
) -> M:
    """Build `target` as a `kind` with the weights of a checkpoint.

    Its architecture and `target` may differ in what can be adapted (sizes, channels, classes, pool, head, drop path).
    Tensors of the file are used as they are mapped; only those that change are computed. What the file does not have
    is drawn on `device`; on the meta device nothing is.

    Raises:
        LayoutError: the file does not hold exactly the tensors that its layout asks for.
        WeightsError: a tensor does not fit, and nothing the caller asked for explains it.
    """
    with torch.device("meta"):
        model = kind(target, about)
    model.load_report = LoadReport(str(tensors.file.path), tensors.layout.name)
    expected: dict[str, Shape] = {key: tuple(t.shape) for key, t in model.state_dict().items()}
    state = _state(tensors, target, about.resample, expected, model.load_report)
    fresh = [key for key in expected if key not in state]
    for child in sorted({key.partition(".")[0] for key in fresh}):
        module = model.get_submodule(child)
        if computes(device):
            init_weights(module.to_empty(device=device), generator)
        state.update({key: t for key, t in model.state_dict().items() if key in fresh and key.startswith(f"{child}.")})
    for key in fresh:
        model.load_report.add(key, "re-initialised", f"{list(expected[key])}: the caller asked for it")
    model.load_state_dict(state, assign=True)
    return model


def _state(
    tensors: NativeTensors,
    target: ViTSpec,
    policy: Resample | None,
    expected: dict[str, Shape],
    report: LoadReport,
) -> dict[str, Tensor]:
    """The tensors that the model takes from the file, fitted to `target`; what is missing may be made anew.

    Raises:
        WeightsError: see `load`.
    """
    source = tensors.spec
    changes = [name for name in type(source).model_fields if getattr(source, name) != getattr(target, name)]
    renewed = tuple(prefix for name in changes for prefix in RENEWS.get(name, ()))
    state: dict[str, Tensor] = {}
    unfit: list[str] = []
    for key in (native for step in tensors.binding.steps for native in step.native):
        fitted, action, detail = _fit(key, tensors.read(key), source, target, policy)
        if key not in expected and not key.startswith(renewed):
            unfit.append(f"{key} {list(fitted.shape)} has no place in the model")
        elif key not in expected or (tuple(fitted.shape) != expected[key] and key.startswith(renewed)):
            report.add(key, "dropped", f"{list(fitted.shape)}: the caller asked for another head or pool")
        elif tuple(fitted.shape) != expected[key]:
            unfit.append(f"{key} is {list(fitted.shape)} in the file and {list(expected[key])} in the model")
        else:
            state[key] = fitted
            report.add(key, action, detail)
    for key, reason in tensors.dropped.items():
        report.add(key, "dropped", reason)
    missing = [key for key in expected if key not in state and not key.startswith(renewed)]
    unfit += [f"{key} {list(expected[key])} is not in the file" for key in missing]
    if unfit:
        cannot = [name for name in changes if name not in ADAPTABLE] or changes
        raise WeightsError(
            f"{report.source} does not fit the model: {some(unfit, 4)}. "
            f"Changes asked for: {', '.join(changes) or 'none'}; weights cannot follow all: leave ",
            *joined(map(Argument, cannot)),
            " out",
        )
    return state


def _fit(
    key: str, tensor: Tensor, source: ViTSpec, target: ViTSpec, policy: Resample | None
) -> tuple[Tensor, str, str]:
    """A tensor for the target's sizes and channels, with what was done to it."""
    before = list(tensor.shape)
    if key.endswith("rel_pos.grid") and source.grid != target.grid:
        return (
            resample_rel_pos(tensor, target.grid, policy),
            "resampled",
            f"for {list(source.grid)} to {list(target.grid)} patches, {policy}",
        )
    if key == "pos_embed.grid" and source.grid != target.grid:
        return (
            resample_table(tensor, target.grid, policy),
            "resampled",
            f"{before[:2]} to {list(target.grid)}, {policy}",
        )
    if key == "patch_embed.proj.weight":
        done = []
        if source.in_chans != target.in_chans:
            tensor = adapt_channels(tensor, target.in_chans)
            done.append(f"{source.in_chans} to {target.in_chans} channels")
        if source.patch_size != target.patch_size:
            tensor = resample_patch_kernel(tensor, target.patch_size)
            done.append(f"{before[2:]} to {list(target.patch_size)} pixels, pseudo-inverse")
        if done:
            return tensor, "adapted", ", ".join(done)
    return tensor, "loaded", ""


def adapt_channels(kernel: Tensor, in_chans: int) -> Tensor:
    """A patch kernel (dim, old channels, height, width) for another number of channels.

    One channel takes the sum over the old ones, so that a grey picture gives what it gave as RGB; more channels repeat
    the old ones in turn and are scaled by old / new, so that activations keep their size (the rule of timm's
    `adapt_input_conv`).
    """
    old, wide = kernel.shape[1], kernel.float()
    if in_chans == 1:
        return wide.sum(1, keepdim=True).to(kernel.dtype)
    repeated = wide[:, torch.arange(in_chans, device=kernel.device) % old]
    return (repeated * (old / in_chans)).to(kernel.dtype)
