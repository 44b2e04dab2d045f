"""The engines that there are, and which of them a file belongs to."""

import os
from pathlib import Path

from vitzoo.engines.engine import Engine
from vitzoo.engines.onnx_runtime import OnnxRuntime
from vitzoo.engines.open_vino import OpenVino
from vitzoo.engines.torch_program import TorchProgram
from vitzoo.errors import ExportError
from vitzoo.small_files import there

ENGINES: tuple[Engine, ...] = (OnnxRuntime(), OpenVino(), TorchProgram())
HEAD = 512  # bytes


def engine_for(path: Path) -> Engine:
    """The engine that writes files that end like this one.

    Raises:
        ExportError: none does.
    """
    found = next((engine for engine in ENGINES if engine.suffix == path.suffix.lower()), None)
    if found is None:
        known = ", ".join(f"{engine.suffix} ({engine.name})" for engine in ENGINES)
        raise ExportError(f"'{path.name}' does not say what to export to; give it one of these endings: {known}")
    return found


def engine_of(path: Path) -> Engine | None:
    """The engine whose file this is, by what it holds; None for all else."""
    if not there(path) or not path.is_file() or not os.access(path, os.R_OK):
        return None
    with path.open("rb") as file:
        head = file.read(HEAD)
    return next((engine for engine in ENGINES if engine.recognises(path, head)), None)
