"""An exported file as a model: it answers what evaluation asks of a ViT, and says of all else that it cannot."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from vitzoo.engines.engine import Run, running
from vitzoo.engines.graph import FEWEST, POOLED, TOKENS, answer_of
from vitzoo.engines.record import KEY, Record, Sizes
from vitzoo.engines.tables import ENGINES, engine_of
from vitzoo.errors import Argument, SpecError, WeightsError
from vitzoo.files.digest import hash_file
from vitzoo.layouts.native import described
from vitzoo.model.backbone import Tokens
from vitzoo.model.digest import tensors_digest
from vitzoo.registry import class_names
from vitzoo.registry.licenses import check_license
from vitzoo.registry.reference import File, Reference
from vitzoo.spec import About, Preprocessing, Size, ViTSpec

HARMLESS = frozenset({"pretrained", "eager", "generator", "allow_licenses", "img_size", "device", "dtype"})
"""Arguments of `create` that an exported file may take; what they ask for is compared with what it is."""


BY_NAME = {engine.name: engine for engine in ENGINES}


class Fixed(SpecError, AttributeError):
    """Something of an exported graph that only the model behind it can do or has."""


class GraphReport:
    """What there is to say of an exported file, in the place of a report of loaded tensors."""

    layout = "exported"

    def __init__(self, path: Path, record: Record) -> None:
        self.source, self.record = str(path), record
        self.because: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.source}: {self.record}", *self.because])


class Exported(nn.Module):
    """A graph of another engine, run on the CPU in float32 in and out.

    It has a ViT's `spec`, `about`, `labels`, `preprocessing`, `load_report`, `forward`, `forward_features`,
    `forward_head` and `tokens`; the last three where it was exported with features.
    """

    def __init__(self, path: Path, spec: ViTSpec, about: About, record: Record, run: Run) -> None:
        super().__init__()
        self.path, self.spec, self.about, self.record = path, spec, about, record
        self.native = spec.img_size
        self.load_report = GraphReport(path, record)
        self._run, self._last = run, (torch.empty(0), dict[str, Tensor]())
        # What asks a model where pictures go, and as what, asks one of its parameters.
        self.register_parameter("like", nn.Parameter(torch.empty(0), requires_grad=False))
        self.eval()

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures are prepared; another one may be set, as of a ViT."""
        return self.about.preprocessing

    @preprocessing.setter
    def preprocessing(self, preprocessing: Preprocessing) -> None:
        self.about = self.about.replace(preprocessing=preprocessing)

    @property
    def license(self) -> str | None:
        return self.about.license

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, where they are known."""
        return class_names(self.about.labels)

    @property
    def origin(self) -> str | None:
        """Where the weights came from, in a line."""
        return self.about.past

    @property
    def num_classes(self) -> int:
        return self.spec.num_classes

    @cached_property
    def digest(self) -> str:
        """The sha256 of the file, and so of what it says of those beside it."""
        return hash_file(self.path)

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """(batch, in_chans, height, width) -> what the graph gives, by name."""
        if x.ndim != 4 or x.shape[1] != self.spec.in_chans:
            raise SpecError(
                f"{self.path} takes (batch, {self.spec.in_chans}, height, width), found {list(x.shape)}; prepare "
                "pictures with vitzoo.preprocess(model)"
            )
        self._check_size((x.shape[-2], x.shape[-1]))
        x = x.detach().to("cpu", torch.float32).contiguous()
        parts = torch.split(x, 1) if self.record.sizes is Sizes.FIXED else (x,)
        with running(BY_NAME[self.record.engine], self.path):
            found = [self._run(part) for part in parts]
        whole = [torch.cat(list(one)) for one in zip(*found, strict=True)]
        return dict(zip(self.record.outputs, whole, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_chans, height, width) -> logits (batch, num_classes), or an embedding (batch, out_dim)."""
        return self.outputs(x)[self.record.outputs[0]]

    def forward_features(self, x: Tensor) -> Tensor:
        """(batch, in_chans, height, width) -> tokens (batch, prefix + patches, hidden_dim)."""
        found = self.outputs(x)
        if TOKENS not in found:
            raise Fixed(
                f"{self.path} was exported without its features; export the model again with `vitzoo export --features`"
            )
        self._last = (found[TOKENS], found)
        return found[TOKENS]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What the last `forward_features` gave -> what `forward` gives, or the features before the last layer.

        The graph computes both at once, so no other tokens can be given.
        """
        tokens, found = self._last
        if x is not tokens:
            raise Fixed(
                f"{self.path} is a graph whose head has no input of its own; give forward_head the very tokens that "
                "forward_features gave last"
            )
        return found[POOLED if pre_logits else answer_of(self.spec)]

    def tokens(self, x: Tensor) -> Tokens:
        """(batch, in_chans, height, width) -> the tokens of the last block, each kind under its name."""
        spec, found = self.spec, self.forward_features(x)
        first_register = spec.class_token + spec.dist_token
        return Tokens(
            cls=found[:, 0] if spec.class_token else None,
            dist=found[:, 1] if spec.dist_token else None,
            registers=found[:, first_register : spec.num_prefix_tokens],
            patches=found[:, spec.num_prefix_tokens :],
            grid=(x.shape[-2] // spec.patch_size[0], x.shape[-1] // spec.patch_size[1]),
        )

    def state_dict(self, *args: Any, **options: Any) -> NoReturn:
        raise Fixed(f"{self.path} is a graph and has no tensors to save or train; {self._instead}")

    def __getattr__(self, attribute: str) -> Any:
        try:
            return super().__getattr__(attribute)
        except AttributeError:
            if attribute[:1] == "_" or attribute == "path":
                raise
            raise Fixed(f"{self.path} is a graph and has no '{attribute}'; {self._instead}") from None

    @property
    def _instead(self) -> str:
        return f"create the model that it was exported from{f', {self.origin}' if self.origin else ''}"

    def _check_size(self, size: Size) -> None:
        if self.record.sizes is not Sizes.ANY and size != self.native:
            raise SpecError(
                f"{self.path} takes pictures of {self.native[0]}x{self.native[1]} alone, found {size[0]}x{size[1]}; "
                f"leave img_size out, or export the model again with `vitzoo export --sizes {Sizes.ANY}`"
            )
        # A graph would leave out pixels beyond the last patch, in silence.
        if min(self.spec.replace(img_size=size).grid) < FEWEST:
            raise SpecError(
                f"{self.path} takes pictures of at least {FEWEST}x{FEWEST} patches, found {size[0]}x{size[1]} pixels; "
                "give larger ones"
            )

    def resized(self, img_size: Size) -> None:
        """Prepare pictures at another size."""
        spec = self.spec.replace(img_size=img_size)
        self._check_size(spec.img_size)
        self.spec, self.preprocessing = spec, self.preprocessing.replace(img_size=None)


def weights_digest(model: nn.Module) -> str:
    """What tells the numbers of two models apart: the digest of their tensors, or of an exported file."""
    return model.digest if isinstance(model, Exported) else tensors_digest(model)


def exported(reference: Reference, options: Mapping[str, Any]) -> Exported | None:
    """The model in an exported file, found by what it holds; None for whatever else was typed.

    `options` are the arguments of `vitzoo.create`.

    Raises:
        WeightsError: a graph that vitzoo did not write, or that changed since.
        SpecError: something is asked of it that a graph cannot become.
    """
    engine = engine_of(reference.path) if isinstance(reference, File) else None
    if engine is None or not isinstance(reference, File):
        return None
    path = reference.path
    with running(engine, path):
        opened = engine.open(path)
    found = described(opened.metadata, str(path))
    if found is None or KEY not in opened.metadata:
        raise WeightsError(
            f"{path} is a graph of {engine.name} that vitzoo did not write, and nothing says what it is; export the "
            "model with `vitzoo export MODEL OUT`"
        )
    with running(engine, path):
        record = Record.model_validate_json(opened.metadata[KEY])
    for name, digest in record.files.items():
        if not (beside := path.parent / name).is_file() or hash_file(beside) != digest:
            raise WeightsError(
                f"{path}: {name} is missing or is not the one that was written with it; export the model again"
            )
    check_license(str(reference), found.about.license, options.get("allow_licenses"))
    _check(path, options)
    with running(engine, path):
        model = Exported(path, found.spec, found.about, record, opened.start(record))
    if options.get("img_size") is not None:
        model.resized(options["img_size"])
    return model


def _check(path: Path, options: Mapping[str, Any]) -> None:
    """Refuse what a graph cannot become."""
    given = {name for name, value in options.items() if value not in (None, (), [], False)}
    if wrong := sorted(given - HARMLESS):
        raise SpecError(
            f"{path} is a graph, in which {', '.join(wrong)} cannot be changed any more; leave it out, or create the "
            "model that it was exported from"
        )
    if torch.device(options.get("device") or "cpu").type != "cpu":
        raise SpecError(f"{path} runs on the CPU, and {options['device']} was given; give ", Argument("device", "cpu"))
    if str(options.get("dtype") or "float32").removeprefix("torch.") != "float32":
        raise SpecError(
            f"{path} takes and gives float32, whatever it computes with, and {options['dtype']} was given; give ",
            Argument("dtype", "float32"),
        )
