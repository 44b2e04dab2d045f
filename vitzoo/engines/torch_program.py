"""torch.export: a .pt2 that torch alone runs, and compiles."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitzoo.engines.engine import Engine, Opened, Run
from vitzoo.engines.graph import Graph
from vitzoo.engines.record import Precision, Record
from vitzoo.errors import WeightsError

PLACE = "/extra/"
INT8 = "int8 is written by NNCF, for .onnx and .xml; export to one of them"


class TorchProgram(Engine):
    """Programs of torch.export; fp16 and bf16 are of the model that was traced."""

    name: ClassVar[str] = "torch_export"
    suffix: ClassVar[str] = ".pt2"
    extra: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    lacks: ClassVar[Mapping[Precision, str]] = {Precision.INT8: INT8, Precision.INT8_WEIGHTS: INT8}
    casts: ClassVar[frozenset[Precision]] = frozenset({Precision.FP16, Precision.BF16})

    def recognises(self, path: Path, head: bytes) -> bool:
        if not head.startswith(b"PK"):
            return False
        try:
            with zipfile.ZipFile(path) as file:
                return any(name.endswith("/archive_format") for name in file.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return False

    def make(self, graph: Graph, precision: Precision, calibration: Sequence[Tensor]) -> Any:
        return graph.program

    def save(self, made: Any, path: Path, metadata: Mapping[str, str]) -> None:
        torch.export.save(made, path, extra_files=dict(metadata))

    def open(self, path: Path) -> Opened:
        _harmless(path)
        with zipfile.ZipFile(path) as file:
            extra = {
                name.partition(PLACE)[2]: file.read(name).decode()
                for name in file.namelist()
                if PLACE in name and not name.endswith("/")
            }

        def start(record: Record) -> Run:
            module = torch.export.load(path).module()
            return lambda x: module(x)

        return Opened(extra, start)


def _harmless(path: Path) -> None:
    """Refuse a file whose tensors are pickled objects: torch would run what they say.

    Raises:
        WeightsError: it is one.
    """
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            content = file.read(name) if name.endswith(("_config.json", ".pt")) else b""
            try:
                if name.endswith("_config.json") and '"use_pickle": true' in json.dumps(json.loads(content)):
                    raise WeightsError
                if name.endswith(".pt") and content:
                    torch.load(io.BytesIO(content), weights_only=True)
            except Exception as error:
                raise WeightsError(
                    f"{path}: {name} holds more than tensors, which could run code when it is read; take a file that "
                    "vitzoo wrote, or export the model again"
                ) from error
