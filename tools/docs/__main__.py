"""Writes every generated page, or with --check compares them and changes nothing."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.docs.layouts import layouts_page
from tools.docs.models import families, family_page, models_page
from tools.docs.recipes import recipes_page
from tools.docs.sections import PAGES, with_sections
from tools.proofs import ROOT, collect


def pages() -> dict[Path, str]:
    """Each page that is generated, whole or in part, by its path in the checkout."""
    proofs = collect()
    found = {
        Path("docs/models.md"): models_page(),
        Path("docs/layouts.md"): layouts_page(proofs),
        Path("docs/recipes.md"): recipes_page(),
    }
    found |= {Path("docs/families") / f"{family.family}.md": family_page(family, proofs) for family in families()}
    return found | {page: with_sections(page, proofs) for page in PAGES}


def main(arguments: Sequence[str] | None = None, folder: Path = ROOT) -> int:
    """Write the pages; with `--check` only compare, and return 1 if a page differs or belongs to no family."""
    about = "Write the generated pages of docs/, and the generated tables of the others."
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=about)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is not up to date")
    check = parser.parse_args(arguments).check
    wanted = pages()
    stale = [
        page
        for page, text in wanted.items()
        if not (folder / page).is_file() or (folder / page).read_text(encoding="utf-8") != text
    ]
    orphans = [file for file in sorted(folder.glob("docs/families/*.md")) if file.relative_to(folder) not in wanted]
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
