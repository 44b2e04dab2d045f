"""Wheel and sdist, each tried in a fresh environment outside the checkout: `python -m tools.dist [--here]`.

They are written into `dist/`. With `--here` the fresh environments see the packages of this one in place of an index,
which is quick and needs no network; vitzoo itself is installed from the file all the same.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRIED = (
    "import pathlib, sys, vitzoo; assert pathlib.Path(vitzoo.__file__).is_relative_to(sys.prefix), vitzoo.__file__",
    "import vitzoo; assert len(vitzoo.list_pretrained()) > 500",
    "import vitzoo; assert vitzoo.create('vit_nano4.cifar10', pretrained=True).load_report",
)
NOT_SHIPPED = ("tests", "tools", "docs", "benchmarks")


def build(folder: Path) -> list[Path]:
    """The wheel and the sdist of the checkout, alone in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return sorted(folder.iterdir())


def attempt(built: Path, here: bool) -> None:
    """Install `built` into a new environment, and use it with its command and from Python, away from the checkout."""
    with tempfile.TemporaryDirectory() as away:
        venv = Path(away) / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        python, site = venv / "bin" / "python", next(venv.glob("lib/python*/site-packages"))
        if here:
            (site / "here.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
        options = ["--no-deps", "--no-build-isolation"] if here else []
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}

        def call(*command: str | Path) -> str:
            done = subprocess.run(command, cwd=away, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            return done.stdout

        call(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *options, built)
        for code in TRIED:
            call(python, "-c", code)
        found = call(venv / "bin" / "vitzoo", "classify", ROOT / "examples" / "cat.png")
        if not found.splitlines()[1].endswith("  cat"):
            raise AssertionError(f"{built.name}: the cat is no cat: {found}")
        if left := [name for name in NOT_SHIPPED if (site / name).exists()]:
            raise AssertionError(f"{built.name} installs {', '.join(left)}, which are for contributors")
    print(f"{built.name}: {built.stat().st_size / 1e6:.2f} MB, works")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.dist", description="Build and try the wheel and the sdist.")
    parser.add_argument("--here", action="store_true", help="take the dependencies of this environment, not an index's")
    here = parser.parse_args(argv).here
    for built in build(ROOT / "dist"):
        attempt(built, here)
    return 0


if __name__ == "__main__":
    sys.exit(main())
