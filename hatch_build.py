"""Puts the compiled registry into the wheel, so that an installed vitzoo reads no YAML at its start, and a bill of
materials, so that who installs it can see what is in it (PEP 770)."""

import hashlib
import json
import re
import sys
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.utils import get_reproducible_timestamp

BILL = "vitzoo.cdx.json"
MATERIALS = {
    "vitzoo/bundled/vit_nano4_cifar10.safetensors": ("vit_nano4.cifar10", "Apache-2.0", "weights trained for vitzoo"),
    "vitzoo/bundled/cat.jpg": ("Chelsea the cat", "CC0-1.0", "photograph by Stefan van der Walt"),
    "registry/labels/imagenet.tsv": (
        "WordNet names of ImageNet's classes",
        "https://wordnet.princeton.edu/license-and-commercial-use",
        "WordNet 3.0, as timm publishes it",
    ),
}
"""Files that are no code of vitzoo's: name, licence, what they are."""


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
        sheet = Path(self._folder.name) / BILL
        core = self.metadata.core
        sheet.write_text(bill(Path(self.root), core.name, self.metadata.version, core.dependencies), encoding="utf-8")
        build_data["sbom_files"].append(str(sheet))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()


def bill(root: Path, name: str, version: str, requirements: list[str]) -> str:
    """The bill of materials as CycloneDX JSON, the same for the same checkout.

    It has the files that are no code of vitzoo's, with digest and licence, and the packages that are required, with the
    versions that may be installed; which one is, is only known where it is.
    """
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    own = Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref="vitzoo",
        purl=PackageURL("pypi", None, name, version),
        licenses=[DisjunctiveLicense(id="Apache-2.0")],
    )
    parts = []
    for path, (title, license, what) in MATERIALS.items():
        spelled = {"name": license} if "/" in license else {"id": license}
        digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
        parts.append(
            Component(
                name=title,
                description=f"{path}: {what}",
                type=ComponentType.DATA,
                bom_ref=path,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
                licenses=[DisjunctiveLicense(**spelled)],
            )
        )
    for requirement in requirements:
        package = re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]
        parts.append(
            Component(
                name=package,
                type=ComponentType.LIBRARY,
                bom_ref=f"pypi:{package}",
                purl=PackageURL("pypi", None, package),
                properties=[Property(name="vitzoo:requirement", value=requirement)],
            )
        )
    made = datetime.fromtimestamp(get_reproducible_timestamp(), UTC)
    whole = Bom(metadata=BomMetaData(component=own, timestamp=made), components=parts, serial_number=uuid.UUID(int=0))
    whole.register_dependency(own, parts)
    whole.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, JsonV1Dot6(whole).output_as_string())
    return JsonV1Dot6(whole).output_as_string(indent=2) + "\n"
