"""The wheel in an environment outside the checkout, and the README's commands and snippets."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked as pip does, in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def run_installed(installed: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=installed, env=environment, check=True, capture_output=True, text=True).stdout


def test_the_wheel_works_outside_the_checkout(installed: Path) -> None:
    assert str(installed) in run_installed(installed, "import vitzoo; print(vitzoo.__file__)")
    names = run_installed(installed, "import vitzoo; print(*vitzoo.list_pretrained())").split()
    import vitzoo

    assert names == vitzoo.list_pretrained()
    code = "import sys; from vitzoo.cli import main; sys.argv = ['vitzoo', 'classify', sys.argv[1]]; main()"
    code = code.replace("sys.argv[1]", repr(str(ROOT / "examples" / "cat.png")))
    assert run_installed(installed, code).splitlines()[1].endswith("  cat")


def test_the_wheel_holds_what_it_should(installed: Path) -> None:
    assert (installed / "vitzoo" / "_registry" / "families" / "vit.yaml").is_file()
    assert (installed / "vitzoo" / "_registry" / "recipes" / "full.yaml").is_file()
    assert (installed / "vitzoo" / "py.typed").is_file()
    assert not (installed / "tests").exists()


def test_the_wheel_has_a_bill_of_materials(installed: Path) -> None:
    """What is not vitzoo's own code, with digest and licence, and every package that it requires (PEP 770)."""
    (sheet,) = installed.glob("vitzoo_models-*.dist-info/sboms/*.cdx.json")
    text = sheet.read_text(encoding="utf-8")
    assert not list(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True) or ())
    found = json.loads(text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [part["properties"][0]["value"] for part in found["components"] if "purl" in part]
    assert sorted(map(Requirement, stated), key=str) == sorted(map(Requirement, project["dependencies"]), key=str)
    data = {part["description"].partition(":")[0]: part for part in found["components"] if part["type"] == "data"}
    bundled = {str(path.relative_to(ROOT)) for path in (ROOT / "vitzoo" / "bundled").iterdir()}
    assert data.keys() == bundled | {"registry/labels/imagenet.tsv"}
    for path, part in data.items():
        assert part["hashes"][0]["content"] == hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
        assert part["licenses"]
    assert (found["metadata"]["component"]["name"], found["bomFormat"]) == ("vitzoo-models", "CycloneDX")
    assert str(ROOT) not in text


def test_an_installed_vitzoo_reads_no_yaml_and_keeps_nothing(installed: Path, tmp_path: Path) -> None:
    compiled = (installed / "vitzoo" / "_registry" / "compiled.json").read_text()
    assert str(ROOT) not in compiled
    code = "import sys, os; os.environ['VITZOO_CACHE'] = sys.argv[1]; sys.argv = ['vitzoo', 'list']; "
    code += "from vitzoo.cli import main; main(); sys.exit('yaml' in sys.modules or 'pydantic' in sys.modules)"
    run_installed(installed, code.replace("sys.argv[1]", repr(str(tmp_path / "cache"))))
    assert not (tmp_path / "cache").exists()


def test_readme_has_the_two_commands() -> None:
    assert "pip install . && vitzoo classify examples/cat.png" in README
    assert 'pip install -e ".[dev]" && pytest' in README
    assert 'pip install -e ".[dev]" && pytest' in (ROOT / ".ci" / "run").read_text()


def test_readme_snippets_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python in the README but the lines that say that they need the hub."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippets) >= 3
    scope: dict[str, object] = {}
    for snippet in snippets:
        lines = [line for line in snippet.splitlines() if not line.rstrip().endswith("# from the hub")]
        exec(compile("\n".join(lines), "README.md", "exec"), scope)


def test_the_bundled_file_is_small_and_the_one_in_the_registry() -> None:
    from vitzoo import registry
    from vitzoo.sources.fetch import BUNDLED, fetch

    entry = registry.weights_entry("vit_nano4.cifar10")
    assert fetch("vit_nano4.cifar10", entry.sources).path.stat().st_size < 6_000_000
    assert sorted(f.name for f in BUNDLED.iterdir()) == ["cat.jpg", "vit_nano4_cifar10.safetensors"]
    assert (BUNDLED / "cat.jpg").stat().st_size < 30_000
