"""Writes every generated page, or with --check compares them and changes nothing."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.docs.layouts import layouts_page
from tools.docs.models import families, family_page, models_page
from tools.docs.recipes import recipes_page

FOLDER = Path(__file__).parents[2] / "docs"


def pages() -> dict[Path, str]:
    """Each generated page by its path below `docs/`."""
    found = {
        Path("models.md"): models_page(),
        Path("layouts.md"): layouts_page(),
        Path("recipes.md"): recipes_page(),
    }
    return found | {Path("families") / f"{family.family}.md": family_page(family) for family in families()}


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Write the pages; with `--check` only compare, and return 1 if a page differs or belongs to no family."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description="Write the generated pages of docs/.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is not up to date")
    check = parser.parse_args(arguments).check
    wanted = pages()
    stale = [
        page
        for page, text in wanted.items()
        if not (folder / page).is_file() or (folder / page).read_text(encoding="utf-8") != text
    ]
    orphans = [file for file in sorted(folder.glob("families/*.md")) if file.relative_to(folder) not in wanted]
    for page in stale:
        print(f"{folder / page} is not up to date; run `python -m tools.docs`" if check else f"wrote {folder / page}")
        if not check:
            (folder / page).parent.mkdir(parents=True, exist_ok=True)
            (folder / page).write_text(wanted[page], encoding="utf-8")
    for file in orphans:
        print(f"{file} belongs to no family; {'remove it' if check else 'removed'}")
        if not check:
            file.unlink()
    return int(check and bool(stale or orphans))


if __name__ == "__main__":
    sys.exit(main())
