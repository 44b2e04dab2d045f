"""What the site has besides `docs/`: the README as its front page, the model browser, the reference from docstrings.

mkdocs calls the functions by their names (`hooks` in mkdocs.yml).
"""

import re
from pathlib import Path
from typing import Any

import vitzoo
from vitzoo.checkpoints.create import build
from vitzoo.registry.browser import browser

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
HEAD = "# Reference\n\nEvery public name, from its docstring.\n"


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are no files of `docs/`."""
    from mkdocs.structure.files import File

    pages = {"index.md": front_page(), "browser.html": browser(), "api.md": reference()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links to files beside `docs/` become the paths of these files: the site has only its own pages."""
    return LINK.sub(lambda match: within(match, Path(page.file.src_uri).parent, files), markdown)


def within(match: re.Match[str], folder: Path, files: Any) -> str:
    """A link of a page in `folder`, or the path of the file that it leads to."""
    label, target = match[1], match[2].partition("#")[0]
    if not target or ":" in target:
        return match[0]
    path = (ROOT / "docs" / folder / target).resolve()
    inside = path.is_relative_to(ROOT / "docs") and files.get_file_from_path(path.relative_to(ROOT / "docs").as_posix())
    if inside:
        return match[0]
    where = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else target
    return f"{label} (`{where}`)" if label.strip("`") not in where else f"`{where}`"


def front_page() -> str:
    """The README, with links as `docs/` has them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?!https?:|#|docs/)([^)]+)\)", r"](../\1)", text).replace("](docs/", "](")


def reference() -> str:
    """One block for each public name, at the place where it is defined."""
    places = {name: f"{home}.{name}" for name, home in vitzoo._HOMES.items()}
    places["create"] = f"{build.__module__}.{build.__name__}"  # what `create` is made of, docstring and all
    blocks = [
        f"::: {places[name]}\n    options: {{heading: vitzoo.{name}}}\n" for name in sorted(places, key=str.lower)
    ]
    return "\n".join([HEAD, *blocks])
