"""Two models on the same pictures: the largest difference of their tokens, pooled features and logits."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitzoo.checkpoints.create import build
from vitzoo.checkpoints.save import save
from vitzoo.errors import LayoutError, SpecError, WeightsError
from vitzoo.extras import needs
from vitzoo.layouts.tables import GROUPS, layout_for
from vitzoo.model import TimmDialect
from vitzoo.spec import Head, Pool, ViTSpec

Outputs = Mapping[str, Tensor]
TOLERANCE = 1e-5


class Comparison(NamedTuple):
    """One kind of output at one size."""

    size: tuple[int, int]
    output: str
    difference: float
    """Largest absolute difference, as a share of the largest value."""


@dataclass(frozen=True)
class Verification:
    """How far two models are apart."""

    first: str
    second: str
    tolerance: float
    rows: tuple[Comparison, ...]
    skipped: tuple[str, ...] = ()
    """What one of the two cannot do, in words."""

    @property
    def equal(self) -> bool:
        """Whether every difference is within the tolerance; NaN is not."""
        return all(row.difference <= self.tolerance for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "tolerance": self.tolerance,
            "equal": self.equal,
            "rows": [row._asdict() for row in self.rows],
            "skipped": list(self.skipped),
        }

    def __str__(self) -> str:
        lines = [f"{self.first}", f"{self.second}"]
        for row in self.rows:
            mark = "" if row.difference <= self.tolerance else "  beyond the tolerance"
            lines.append(f"  {row.size[0]}x{row.size[1]}  {row.output:<7} {row.difference:.2e}{mark}")
        lines += [f"  {text}" for text in self.skipped]
        return "\n".join([*lines, f"{'equal' if self.equal else 'DIFFERENT'} at {self.tolerance:g}"])


@dataclass(frozen=True)
class Subject:
    """A model under test: `run` gives outputs by name, which two subjects share where they mean the same."""

    name: str
    run: Callable[[Tensor], Outputs]
    any_size: bool = True


def answer(model: Any, tokens: Tensor, spec: ViTSpec) -> Outputs:
    """What the head makes of tokens, by the name of what it is; nothing without a head."""
    name = "logits" if spec.num_classes else "embedding" if spec.out_dim else None
    return {} if name is None else {name: model.forward_head(tokens)}


def ours(model: TimmDialect, name: str) -> Subject:
    """A model of vitzoo."""

    def run(x: Tensor) -> Outputs:
        tokens = model.forward_features(x)
        pooled = {} if model.spec.pool is Pool.NONE else {"pooled": model.forward_head(tokens, pre_logits=True)}
        return {"tokens": tokens, **pooled, **answer(model, tokens, model.spec)}

    return Subject(name, run)


def _timm(folder: Path, spec: ViTSpec) -> Subject:
    with needs("timm"):
        import timm

    native = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    def run(x: Tensor) -> Outputs:
        model = deepcopy(native)  # a table that was resampled once must not be resampled again
        model.set_input_size(tuple(x.shape[-2:]))
        tokens = model.forward_features(x)
        pooled = model.forward_head(tokens, pre_logits=True)
        return {"tokens": tokens, "pooled": pooled, **answer(model, tokens, spec)}

    return Subject(f"timm {timm.__version__}, {type(native).__name__}", run)


# Of these the last hidden state is what the final norm gives; other classes norm the pooled vector alone.
DINO = ("dinov2", "dinov2_with_registers", "dinov3_vit")
NORMED = frozenset({"vit", "deit", "ijepa", *DINO, "siglip_vision_model", "siglip2_vision_model"})


def _huggingface(folder: Path, spec: ViTSpec) -> Subject:
    with needs("transformers"):
        import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    kind, loader = config.model_type, getattr(transformers, config.architectures[0])
    # transformers would compute in the file's own precision, and vitzoo does in fp32. The pooler of an encoder is a
    # layer of its own, which is random where the file has none; what is compared comes before it.
    encoder = {"add_pooling_layer": False} if "add_pooling_layer" in signature(loader.__init__).parameters else {}
    model, report = loader.from_pretrained(folder, output_loading_info=True, dtype=torch.float32, **encoder)
    if wrong := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        raise WeightsError(f"transformers' {type(model).__name__} does not fit {folder}: {', '.join(wrong[:6])}")
    model.eval()
    options = signature(model.forward).parameters
    more = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in options else {}
    if "ForImageClassification" in type(model).__name__:
        more["output_hidden_states"] = True

    def run(x: Tensor) -> Outputs:
        out = model(x, **more)
        for theirs, name in (("logits", "logits"), ("image_embeds", "embedding")):
            if theirs in out:
                return {name: out[theirs]}
        pooled = out.get("pooler_output")
        return {"tokens": out.last_hidden_state} if kind in NORMED or pooled is None else {"pooled": pooled}

    name = f"transformers {transformers.__version__}, {type(model).__name__}"
    return Subject(name, run, any_size="interpolate_pos_encoding" in options or kind in DINO)


def _torchvision(file: Path, spec: ViTSpec) -> Subject:
    with needs("torchvision"):
        import torchvision

    model = torchvision.models.VisionTransformer(
        spec.img_size[0],
        spec.patch_size[0],
        spec.depth,
        spec.num_heads,
        spec.hidden_dim,
        spec.mlp_dim,
        num_classes=spec.num_classes,
        representation_size=spec.hidden_dim if spec.head is Head.PRE_LOGITS else None,
    ).eval()
    model.load_state_dict(torch.load(file, weights_only=True))
    return Subject(f"torchvision {torchvision.__version__}, VisionTransformer", lambda x: {"logits": model(x)}, False)


PEERS: dict[str, Callable[[Path, ViTSpec], Subject]] = {
    "timm": _timm,
    "huggingface": _huggingface,
    "torchvision": _torchvision,
}
"""The libraries whose own model can be the second subject, by the group of layouts that they read."""


def verify(
    first: str | Path,
    second: str | Path | None = None,
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    **options: Any,
) -> Verification:
    """Run two models on the same random pictures and compare what they give.

    Args:
        first: weights of the registry, or a checkpoint in any layout.
        second: the same, or a library's own implementation: "timm", "huggingface" or "torchvision". It reads `first`
            itself where that is a folder of its own, else vitzoo's export. If not given, the library in whose layout
            `first` is, or else the first that can hold it.
        sizes: (height, width) in pixels; the native size, a larger and a rectangular one if not given.
        tolerance: largest difference that counts as equal, as a share of the largest value.
        options: `layout`, `like` and spec fields of the checkpoints, as for `vitzoo.create`. At other sizes than the
            native one, a library's own policy of resampling is taken for both.

    Raises:
        LayoutError: no library's own model can hold `first`.
        SpecError: the two take different pictures.
    """
    model = build(TimmDialect, first, pretrained=True, **options)
    with _second(first, second, model, options) as (other, policy):
        if policy is not None:
            model = build(TimmDialect, first, pretrained=True, **{**options, "resample": policy})
        rows, skipped = [], []
        (height, width), (down, across) = model.spec.img_size, model.spec.patch_size
        larger, wide = (height + 2 * down, width + 2 * across), (height + down, width + 3 * across)
        subject = ours(model, f"vitzoo, {first}")
        for size in sizes or ((height, width), larger, wide):
            if size != model.spec.img_size and not other.any_size:
                skipped.append(f"{size[0]}x{size[1]}: {other.name} takes {height}x{width} alone")
                continue
            x = torch.randn(2, model.spec.in_chans, *size, generator=torch.Generator().manual_seed(seed))
            with torch.inference_mode():
                a, b = subject.run(x), other.run(x)
            rows += [Comparison(size, name, _difference(a[name], b[name], name)) for name in a if name in b]
    return Verification(subject.name, other.name, tolerance, tuple(rows), tuple(skipped))


@contextmanager
def _second(
    first: str | Path, second: str | Path | None, model: TimmDialect, options: Mapping[str, Any]
) -> Iterator[tuple[Subject, Any]]:
    if second is not None and str(second) not in PEERS:
        other = build(TimmDialect, second, pretrained=True, **options)
        if (other.spec.in_chans, other.spec.img_size) != (model.spec.in_chans, model.spec.img_size):
            raise SpecError(
                f"{first} takes {model.spec.in_chans}x{model.spec.img_size} and {second} {other.spec.in_chans}x"
                f"{other.spec.img_size}; give img_size and in_chans for both"
            )
        yield ours(other, f"vitzoo, {second}"), None
        return
    own = model.load_report.layout
    candidates = [str(second)] if second is not None else sorted(PEERS, key=lambda group: own not in GROUPS[group])
    reasons = []
    for group in candidates:
        layout = layout_for(group, model.spec)
        if refused := layout.refusals(model.spec):
            reasons.append(f"{group}: {'; '.join(refused.values())}")
            continue
        with tempfile.TemporaryDirectory() as name:
            theirs = Path(first).is_dir() and own in GROUPS[group]
            place = Path(first) if theirs else save(model, Path(name) / "export", layout.name)
            yield PEERS[group](place, model.spec), layout.resample
        return
    raise LayoutError(f"no library's own model can hold {first}: {' | '.join(reasons)}")


def _difference(a: Tensor, b: Tensor, name: str) -> float:
    if a.shape != b.shape:
        raise SpecError(
            f"{name} of the two are {list(a.shape)} and {list(b.shape)}; they are not two versions of one model"
        )
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()
