"""The rooms of the house: imports run one way, and looking things up never imports torch."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vitzoo"

# Each room may import those named here, and itself.
MAY_IMPORT = {
    "errors": set(),
    "markdown": set(),
    "spec": {"errors"},
    "registry": {"errors", "spec"},
    "schema": {"spec", "train"},
    "resample": {"errors", "spec"},
    "transform": {"errors", "spec"},
    "model": {"errors", "spec", "resample"},
    "layouts": {"errors", "spec"},
    "weights": {"errors", "spec", "resample", "layouts", "model"},
    "licensing": {"errors"},
    "identify": {"errors", "spec", "registry", "layouts", "licensing", "weights"},
    "describe": {"spec", "registry", "layouts"},
    "docs": {"markdown", "spec", "registry", "describe", "layouts", "train"},
    "drift": {"errors", "spec", "registry", "describe"},
    "factory": {"errors", "spec", "registry", "identify", "model", "weights"},
    "pinning": {"errors", "spec", "registry", "weights"},
    "storage": {"errors", "spec", "registry", "identify", "weights"},
    "conversion": {"errors", "spec", "identify", "weights"},
    "origin": {"spec", "registry"},
    "results": {"spec"},
    "usage": {"spec", "transform", "model"},
    "model_card": {
        "errors",
        "spec",
        "describe",
        "markdown",
        "licensing",
        "transform",
        "model",
        "weights",
        "origin",
        "results",
        "usage",
    },
    "publishing": {
        "errors",
        "factory",
        "identify",
        "licensing",
        "model",
        "model_card",
        "origin",
        "results",
        "weights",
    },
    "verification": {"errors", "spec", "factory", "layouts", "model", "weights"},
    "train": {
        "errors",
        "markdown",
        "spec",
        "registry",
        "transform",
        "origin",
        "model",
        "model_card",
        "weights",
        "factory",
    },
    "cli": {
        "errors",
        "spec",
        "registry",
        "model",
        "weights",
        "pinning",
        "storage",
        "factory",
        "conversion",
        "publishing",
        "train",
        "verification",
        "transform",
        "describe",
    },
}


def rooms_imported_by(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "vitzoo":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vitzoo."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("vitzoo.")}
    return found


def test_the_rooms_form_no_circle() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_imports_run_one_way(file: Path) -> None:
    if file == PACKAGE / "__init__.py":
        return  # the front door
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert rooms_imported_by(file) - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize(
    "code",
    [
        "import vitzoo; vitzoo.list_models()",
        "import sys; sys.argv = ['vitzoo', 'list']; from vitzoo.cli import app; app(standalone_mode=False)",
        "import vitzoo; vitzoo.info('vit_b16').stages",
    ],
)
def test_looking_things_up_does_not_import_torch(code: str) -> None:
    check = "; assert not {'torch', 'timm', 'torchvision', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys; {code}{check}"], check=True, capture_output=True)


def test_creating_does_not_import_torchvision_or_timm() -> None:
    code = "import sys, vitzoo; vitzoo.create('vit_nano4.cifar10', pretrained=True)"
    check = "; assert not {'timm', 'torchvision', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code + check], check=True, capture_output=True)


def test_public_names_are_what_they_say() -> None:
    import vitzoo
    import vitzoo.factory

    assert callable(vitzoo.create)
    assert sorted(set(vitzoo.__all__) - set(dir(vitzoo))) == []
    for name in vitzoo.__all__:
        assert not isinstance(getattr(vitzoo, name), type(sys))
    with pytest.raises(AttributeError, match="no attribute 'creat'"):
        _ = vitzoo.creat
