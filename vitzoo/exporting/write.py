"""`vitzoo.export`: a model as a file of another engine, kept only if it gives the model's numbers."""

import copy
import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vitzoo.engines.engine import Engine, Run, making
from vitzoo.engines.graph import CAST, outputs_of, traced
from vitzoo.engines.record import DEMANDS, KEY, Precision, Record, Sizes
from vitzoo.engines.tables import engine_for
from vitzoo.errors import Argument, ExportError, SpecError
from vitzoo.exporting.precision import (
    Calibration,
    agreement,
    calibration_of,
    check_processor,
    check_speed,
    time_beside,
)
from vitzoo.exporting.proof import Files, batch_of, check, compared
from vitzoo.extras import needs
from vitzoo.files.atomic import replacing_together
from vitzoo.files.digest import hash_file
from vitzoo.layouts.native import KEY as MODEL
from vitzoo.layouts.native import describe
from vitzoo.model.digest import tensors_digest
from vitzoo.publish.dialect import ViT, create, is_model
from vitzoo.version import __version__

CALIBRATE = Argument("calibrate", "FOLDER")


@dataclass(frozen=True)
class Export:
    """What was written."""

    path: Path
    record: Record
    files: dict[str, str]
    """Name and sha256 of each file."""
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "files": self.files,
            "bytes": self.bytes,
            "difference": self.record.difference,
            "record": self.record.model_dump(mode="json"),
        }

    def __str__(self) -> str:
        rows = [
            f"  {row.batch}x{row.size[0]}x{row.size[1]}  {row.output:<9} {row.difference:.1e}"
            for row in self.record.verified
        ]
        return "\n".join([f"{self.path}: {self.bytes / 1e6:.1f} MB, {self.record}", *rows])


def export(
    model: str | os.PathLike[str] | ViT,
    path: str | os.PathLike[str],
    *,
    precision: str = "fp32",
    sizes: str = "any",
    features: bool = False,
    calibrate: str | os.PathLike[str] | None = None,
    pictures: Files = (),
    tolerance: float | None = None,
    force: bool = False,
    **options: Any,
) -> Export:
    """Write a model as a graph; `vitzoo.create(path)` runs it.

    What was written is compared with the model on pictures of several sizes; only then does it take its place.

    Args:
        model: whatever `create` takes, or a ViT.
        path: its ending chooses the engine: .onnx, .xml (OpenVINO), .pt2 (torch.export).
        precision: that it computes with: "fp32", "fp16", "bf16", "int8", "int8_weights".
        sizes: what stays open: "any" (pictures a batch, height and width), "batch", or "fixed" (nothing).
        features: give the tokens and the pooled features, too.
        calibrate: a folder or tar file of pictures, for int8; a quarter is held out, 64 at most.
        pictures: files that are compared beside the one that vitzoo brings.
        tolerance: largest difference as a share of the largest value; that of the precision if not given.
        force: write a precision that is slower here than fp32, too.
        options: of `create`.

    Raises:
        MissingExtra: what the engine needs is not installed.
        ExportError: an unknown ending or precision, a model that is no graph, a graph with other numbers.
    """
    target, number, left_open = Path(path), one_of(Precision, precision), one_of(Sizes, sizes)
    engine = engine_for(target)
    _possible(engine, number, calibrate, force)
    installed = versions(engine)
    vit = source(model, options)
    drawn = None if calibrate is None else calibration_of(vit, calibrate)
    record = Record(
        engine=engine.name,
        precision=number,
        sizes=left_open,
        outputs=outputs_of(vit.spec, features),
        weights=tensors_digest(vit),
        tolerance=DEMANDS[number].tolerance if tolerance is None else tolerance,
        calibration=None if drawn is None or number is not Precision.INT8 else drawn.source,
        versions=installed,
    )
    return _kept(target, lambda partial: _written(vit, partial, record, pictures, drawn, force))


def _kept(target: Path, write: Callable[[Path], Record]) -> Export:
    """What `write` writes, in its place if it ends well."""
    try:
        with replacing_together(target) as partial:
            record = write(partial)
            files = {one.name: hash_file(one) for one in sorted(partial.parent.iterdir())}
            size = sum(one.stat().st_size for one in partial.parent.iterdir())
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror or error}; give another path") from error
    return Export(target, record, files, size)


def _possible(engine: Engine, precision: Precision, calibrate: object, force: bool) -> None:
    """Refuse what an engine or the processor does not have, and int8 without pictures."""
    if precision in engine.lacks:
        raise ExportError(f"{engine.suffix} has no {precision}: {engine.lacks[precision]}")
    if precision is Precision.INT8 and calibrate is None:
        raise ExportError("int8 is fitted to pictures like those that it will see; name some with ", CALIBRATE)
    check_processor(precision, force)


def source(model: str | os.PathLike[str] | ViT, options: dict[str, Any]) -> ViT:
    """A ViT on the CPU in float32, in evaluation mode; the caller's stays as it is.

    Raises:
        SpecError: an exported file.
    """
    vit = model if is_model(model) else create(model, pretrained=True, **options)
    if not isinstance(vit, ViT):
        raise SpecError(f"{model} is an exported graph already; give the model that it was exported from")
    like = next(vit.parameters())
    if vit.training or like.device.type != "cpu" or like.dtype.itemsize != 4:
        vit = copy.deepcopy(vit).cpu().float().eval()
    return vit


def _written(
    vit: ViT, path: Path, record: Record, pictures: Files, calibration: Calibration | None, force: bool
) -> Record:
    """Write, open and compare; the record with what was found."""
    engine = engine_for(path)
    with making(engine, "this model"):
        made = _made(engine, vit, record, [] if calibration is None else calibration.fit)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            run = _run(engine, made, Path(folder) / path.name, record)
            rows = compared(vit, record.outputs, run, record.sizes, pictures)
            check(rows, record.tolerance, engine.name, record.precision)
            record = record.replace(verified=rows)
            if calibration is not None:
                same = agreement(vit, run, calibration.held_out, record.sizes)
                record = record.replace(agreement=same, held_out=len(calibration.held_out))
        if record.precision is not Precision.FP32:
            record = record.replace(time=_time(engine, vit, run, path, record))
    check_speed(record, force)
    metadata = {MODEL: describe(vit.spec, vit.about)}
    engine.save(made, path, {**metadata, KEY: record.model_dump_json()})
    if beside := {one.name: hash_file(one) for one in path.parent.iterdir() if one.name != path.name}:
        record = record.replace(files=beside)
        engine.save(made, path, {**metadata, KEY: record.model_dump_json()})
    return record


def _made(engine: Engine, vit: ViT, record: Record, fit: Sequence[Tensor]) -> Any:
    """The engine's own form of a model in the precision of the record."""
    cast = record.precision in engine.casts
    traceable = copy.deepcopy(vit).to(CAST[record.precision]) if cast else vit
    return engine.make(traced(traceable, record.sizes, record.outputs), record.precision, fit)


def _run(engine: Engine, made: Any, path: Path, record: Record) -> Run:
    """What the engine makes of the file that it writes."""
    engine.save(made, path, {})
    return engine.open(path).start(record)


def _time(engine: Engine, vit: ViT, run: Run, path: Path, record: Record) -> float:
    """Of a run as a share of fp32's, one picture of the model's own size."""
    plain = record.replace(precision=Precision.FP32)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        other = _run(engine, _made(engine, vit, plain, []), Path(folder) / path.name, plain)
        return time_beside(run, other, batch_of(vit.spec, vit.about, vit.spec.img_size, 1))


def versions(engine: Engine) -> dict[str, str]:
    """Of what writes and runs a graph.

    Raises:
        MissingExtra: one of them is not installed.
    """
    with needs(engine.extra):
        return {"vitzoo": __version__, **{name: importlib.metadata.version(name) for name in engine.packages}}


def one_of(kind: Any, value: str) -> Any:
    """A member of an enumeration by its value.

    Raises:
        ExportError: there is none.
    """
    try:
        return kind(value)
    except ValueError:
        name = kind.__name__.lower()
        raise ExportError(f"unknown {name} '{value}'; give one of {', '.join(kind)}") from None
