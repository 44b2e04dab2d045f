"""The README's picture, of what the commands print here and now: `python -m tools.picture` writes docs/terminal.svg."""

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
COMMANDS = ("classify examples/cat.png", "info vit_b16 | head -n 9", "list 'dinov2_s14*'")


def output(command: str) -> str:
    """What `vitzoo` prints for a command line of a shell."""
    line = f"{sys.executable} -c 'from vitzoo.cli import main; main()' {command}"
    return subprocess.run(line, shell=True, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> None:
    console = Console(record=True, width=84, file=io.StringIO())
    for command in COMMANDS:
        console.print(Text.assemble(("$ ", "green"), (f"vitzoo {command}", "bold")))
        console.print(Text(output(command)))
    console.save_svg(str(ROOT / "docs" / "terminal.svg"), title="vitzoo")


if __name__ == "__main__":
    main()
