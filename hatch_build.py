"""Puts the compiled registry into the wheel, so that an installed vitzoo reads no YAML at its start."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledRegistry(BuildHookInterface):  # type: ignore[type-arg]
    """Reads and checks `registry/`, and adds what it comes to as `vitzoo/_registry/compiled.json`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # a checkout changes; it has a cache
        sys.path.insert(0, self.root)
        try:
            from vitzoo.registry import index, shipped
        finally:
            sys.path.remove(self.root)
        self._folder = tempfile.TemporaryDirectory()
        compiled = Path(self._folder.name) / shipped.COMPILED
        compiled.write_text(json.dumps(index.compiled()), encoding="utf-8")
        build_data["force_include"][str(compiled)] = f"vitzoo/_registry/{shipped.COMPILED}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()
