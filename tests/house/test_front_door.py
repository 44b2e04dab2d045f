"""What a newcomer meets first: pages whose Python runs, examples that run, checks that are the same everywhere."""

import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import vitzoo
from tools.house import FLOORS

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile, its prerequisites' first."""
    found = re.search(rf"^{target}:([^#\n]*).*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    assert found, target
    before = [command for name in found[1].split() for command in recipe(name)]
    return before + [line.strip() for line in found[2].splitlines()]


# --- one check --------------------------------------------------------------------------------------------------------


def test_the_continuous_check_is_the_one_of_the_makefile() -> None:
    lines = [line.partition("  #")[0] for line in read(".ci/run").splitlines()]
    assert lines[-2:] == ['pip install -e ".[dev]" && pytest', "make check --assume-old=test"]
    rest = subprocess.run(
        ["make", "--dry-run", "check", "--assume-old=test"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert recipe("check") == ["pytest", *rest]
    assert {"mypy", "ruff check .", "python -m tools.house", "python -m tools.docs --check"} < set(rest)


def test_the_hooks_before_a_commit_are_local_and_there() -> None:
    (repo,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repo["repo"] == "local"
    checked = " ".join(recipe("check"))
    for hook in repo["hooks"]:
        assert hook["language"] == "system"
        assert " ".join(hook["entry"].split()[:2]).removesuffix(" --fix") in checked, hook


def test_commands_in_the_contributors_page_exist() -> None:
    page = read("CONTRIBUTING.md")
    for target in re.findall(r"`make (\w+)`", page):
        assert recipe(target)
    for path in re.findall(r"pytest (tests/\S+?)[ `]", page):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (tools\.\w+)", page + MAKEFILE):
        file = ROOT / module.replace(".", "/")
        assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file(), module


# --- the package ------------------------------------------------------------------------------------------------------


def test_the_licence_is_the_one_that_the_package_states() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["license"] == "Apache-2.0"
    text = read("LICENSE")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    # PyPI has a package vit-zoo and refuses names that differ by separators alone.
    assert re.sub("[-_.]", "", project["name"]).lower() != "vitzoo"
    assert project["scripts"] == {"vitzoo": "vitzoo.__main__:main"}


def test_no_page_and_no_message_advises_an_install_by_a_name_that_no_index_has() -> None:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*"), *ROOT.glob("vitzoo/**/*.py")]
    advice = re.compile(r"pip install [\"']?(vitzoo|vit-zoo)\b")
    wrong = [file.name for file in files if file.suffix in (".md", ".py") and advice.search(file.read_text("utf-8"))]
    assert wrong == []


def test_names_that_were_documented_stay_importable() -> None:
    from vitzoo import publishing, resample
    from vitzoo.model import resample as home
    from vitzoo.publish import push

    assert publishing.prepare is push.prepare
    for name in ("PatchResample", "resample_patch_kernel", "resample_table"):
        assert getattr(resample, name) is getattr(home, name)


# --- pages ------------------------------------------------------------------------------------------------------------


def test_the_table_of_floors_is_the_one_that_is_checked() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", read("docs/architecture.md"), re.MULTILINE)
    stated = {int(floor): set(re.findall(r"`(\w+)`", rooms)) for floor, rooms in rows}
    assert stated == {number: set(rooms) for number, rooms in enumerate(FLOORS, 1)}
    picture = read("CONTRIBUTING.md").split("```")[3]
    drawn = [set(re.split(r" {3,}", line.strip())[0].split()) for line in picture.splitlines() if line.strip()]
    assert set().union(*drawn) == set().union(*FLOORS[:-1])
    height = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    middles = [[height[room] for room in rooms] for rooms in drawn]
    assert all(min(above) > max(below) for above, below in pairwise(middles))


def test_what_the_other_libraries_type_and_what_is_typed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = read("docs/coming-from.md")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    for text in PYTHON.findall(page):
        exec(compile(text, "docs/coming-from.md", "exec"), scope)
    here = re.findall(r"^\|.*\| (.*) \|$", page, re.MULTILINE)
    names = {name for cell in here for name in re.findall(r'create\("([^"]+)"', cell)} - {"m.pth", "./folder"}
    assert len(names) >= 5
    for name in names:
        assert vitzoo.info(name).spec.depth >= 12
    for pattern in {name for cell in here for name in re.findall(r'list_pretrained\("([^"]+)"', cell)}:
        assert vitzoo.list_pretrained(pattern)


def test_the_table_of_commands_is_one_table() -> None:
    block = next(part for part in read("README.md").split("\n\n") if part.startswith("| command |"))
    commands = set(re.findall(r"^\| `vitzoo (\w+)", block, re.MULTILINE))
    assert {"list", "classify", "verify", "finetune", "push"} <= commands


def test_the_picture_shows_what_the_command_prints(run) -> None:
    drawn = re.sub(r"<[^>]+>|\s|&#160;", "", read("docs/terminal.svg"))
    printed = run("classify", ROOT / "examples" / "cat.png").out.splitlines()[1:]
    assert len(printed) == 5
    for line in printed:
        assert "".join(line.split()) in drawn, line


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of two classes that are easy to tell apart."""
    drawn = np.random.default_rng(0)
    for split, (name, level) in product(("train", "val"), (("dark", 60), ("light", 190))):
        folder = tmp_path / "pictures" / split / name
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = drawn.integers(level - 40, level + 40, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    ("command", "printed", "made"),
    [
        ("embed_folder.py pictures", "32 pictures, vectors of 128 numbers", "vectors.npz"),
        ("finetune.py pictures", "classes: dark light", "out/mine/model.safetensors"),
        ("convert_and_verify.py", "timm gives the same logits", "out/for_timm/model.safetensors"),
    ],
)
def test_examples_run(command: str, printed: str, made: str, pictures: Path) -> None:
    script, *arguments = shlex.split(command)
    call = [sys.executable, str(ROOT / "examples" / script), *arguments]
    done = subprocess.run(call, cwd=pictures.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
    assert (pictures.parent / made).is_file()
    assert f"examples/{script}" in read(f"examples/{script}")


def test_every_example_is_run() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'("{file.name}' in source for file in (ROOT / "examples").glob("*.py"))
