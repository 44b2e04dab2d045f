"""The rooms of the house: imports run one way, and looking things up never imports torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tools.house import read_twice, too_long, wrong_imports


def test_imports_run_one_way() -> None:
    assert wrong_imports() == []


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("spec/base.py", "from vitzoo.model import vit", "vitzoo.spec.base imports vitzoo.model.vit"),
        ("spec/base.py", "def late():\n    import vitzoo", "vitzoo.spec.base imports vitzoo, "),
        ("spec/base.py", "from vitzoo import model", "vitzoo.spec.base imports vitzoo.model"),
        ("files/read.py", "from vitzoo.images import load", "vitzoo.files.read imports vitzoo.images.load"),
        ("attic/one.py", "", "the room 'attic' stands on no floor"),
        ("model/vit.py", "from vitzoo.model import mlp", "a circle: "),
    ],
)
def test_the_guard_sees_what_goes_wrong(tmp_path: Path, file: str, text: str, expected: str) -> None:
    package = tmp_path / "vitzoo"
    circle = {"model/vit.py": "", "model/mlp.py": "from vitzoo.model.vit import x"}
    files = {"spec/base.py": "", "images/load.py": "", **circle}
    for name, content in {**files, file: text}.items():
        for folder in (package / name).parents:
            if folder.is_relative_to(package):
                folder.mkdir(exist_ok=True, parents=True)
                (folder / "__init__.py").touch()
        (package / name).write_text(content, encoding="utf-8")
    assert any(expected in line for line in wrong_imports(package)), wrong_imports(package)


def test_the_guard_measures_functions_and_files(tmp_path: Path) -> None:
    package = tmp_path / "vitzoo"
    package.mkdir()
    (package / "long.py").write_text("def f():\n" + "    x = 1\n" * 500, encoding="utf-8")
    found = [line.partition(";")[0] for line in too_long(package)]
    assert found == ["vitzoo.long has 501 lines", "vitzoo.long.f has 501 lines"]


def test_what_a_user_typed_is_read_in_one_place() -> None:
    assert read_twice() == []


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ('return model.startswith("hf-hub:")', [2]),
        ('name = str(model).removeprefix("hf-hub:")\n    return name.partition("@")', [2, 3]),
        ('return "://" in str(model)', [2]),
        ('return Path(model).suffix.endswith("pt")', [2]),
        ('key = "head.fc"\n    return key.startswith("head.")', []),
        ("return parse(model)", []),
    ],
)
def test_the_guard_sees_who_else_reads_it(tmp_path: Path, body: str, lines: list[int]) -> None:
    for room in ("sources", "registry", "layouts"):
        (tmp_path / "vitzoo" / room).mkdir(parents=True)
        (tmp_path / "vitzoo" / room / "reference.py").write_text(f"def one(model):\n    {body}\n", encoding="utf-8")
    found = read_twice(tmp_path / "vitzoo")
    expected = [
        f"vitzoo.sources.reference:{line} reads what a user typed; vitzoo.registry.reference does" for line in lines
    ]
    assert found == expected


@pytest.mark.parametrize(
    "code",
    [
        "import vitzoo; vitzoo.list_models()",
        "import sys; from vitzoo.cli import command_line; command_line()(['list'], standalone_mode=False)",
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


def test_creating_classifying_and_evaluating_need_no_timm(tmp_path: Path) -> None:
    """Names of classes come with the registry, and folders are read here."""
    for name in ("n01440764", "n01443537"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / "x.png")
    code = f"""
import sys
sys.modules["timm"] = None
import vitzoo
from vitzoo.cli import command_line
path = {str(tmp_path / "model.safetensors")!r}
model = vitzoo.create("vit_nano4", num_classes=1000)
model.labels = "imagenet-1k"
assert model.labels[:2] == ("tench, Tinca tinca", "goldfish, Carassius auratus")
vitzoo.save(model, path)
for words in (["classify", {str(tmp_path / "data")!r}, "-m", path], ["evaluate", path, {str(tmp_path / "data")!r}]):
    command_line()(words, standalone_mode=False)
assert not any(name.partition(".")[0] == "timm" and module for name, module in sys.modules.items())
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "recognised" in done.stdout or "top-1" in done.stdout


def test_public_names_are_what_they_say() -> None:
    import vitzoo
    import vitzoo.checkpoints.create

    assert callable(vitzoo.create)
    assert sorted(set(vitzoo.__all__) - set(dir(vitzoo))) == []
    for name in vitzoo.__all__:
        assert not isinstance(getattr(vitzoo, name), type(sys))
    with pytest.raises(AttributeError, match="no attribute 'creat'"):
        _ = vitzoo.creat
