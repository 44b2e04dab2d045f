"""The licence and the past of weights, as files carry them that do not describe themselves.

safetensors has them in its metadata, torch's and numpy's files in the comment of the archive that they are. A folder
that is laid out as a repository of the hub has a card. timm's config.json has a field for the licence, too.
"""

from pathlib import Path
from typing import Any

import yaml

from vitzoo.errors import WeightsError
from vitzoo.files.read import IN_A_FOLDER
from vitzoo.files.tensor_file import TensorFile
from vitzoo.layouts.beside import Beside
from vitzoo.markdown import page
from vitzoo.registry.licenses import HUB_LICENSES, LONGEST_CARD, license_named, license_on_card, strictest
from vitzoo.registry.provenance import repo_of
from vitzoo.small_files import read_small
from vitzoo.spec import About, Origin

CARD = "README.md"
LICENSES, PAST = ("license", "base_license"), ("origin", "derived_from")


def credits(about: About) -> dict[str, str]:
    """What others may know of licence and past, as a line of text by the name of its field."""
    past = {name: one.public() for name in PAST if (one := getattr(about, name)) is not None}
    known = {name: getattr(about, name) for name in LICENSES} | past
    return {name: " ".join(str(value).split()) for name, value in known.items() if value is not None}


def credited(file: TensorFile, beside: Beside, fetched: bool = False) -> dict[str, Any]:
    """The same, read back: fields of `About`, from the file itself and from what lies beside it.

    What lies beside a file that was `fetched` may be anybody's: its repository's card was read when it was fetched.
    """
    said = file.metadata
    found: dict[str, Any] = {name: license_named(said[name]) for name in LICENSES if name in said}
    found |= {name: Origin.of(said[name]) for name in PAST if said.get(name)}
    on_card = None if fetched else _on_card(file.path)
    found["license"] = strictest((found.get("license"), on_card, license_named(beside.license)))
    return {name: value for name, value in found.items() if value is not None}


def card(about: About) -> str | None:
    """The card of a folder, for programs that look for the licence there; None if nothing is known to say."""
    if about.license is None:
        return None
    start = about.derived_from or about.origin
    start = None if start is None else start.public()
    listed, base = about.license in HUB_LICENSES, None if start is None else repo_of(start)
    front = {
        "base_model": base,
        "license": about.license if listed else "other",
        "license_name": None if listed else about.license,
    }
    how = "fine-tuned from" if about.derived_from is not None else "from"
    told = yaml.safe_dump({key: value for key, value in front.items() if value is not None})
    return page(
        ["---", told.rstrip(), "---"],
        [f"The weights are under `{about.license}`" + ("." if start is None else f", {how} {start}.")],
    )


def _on_card(path: Path) -> str | None:
    """Of a file that has the name which a repository's has; a README beside any other is about something else."""
    text = _read(path.with_name(CARD), LONGEST_CARD) if path.name in IN_A_FOLDER else None
    return None if text is None else license_on_card(text)


def _read(path: Path, most: int) -> str | None:
    try:
        return read_small(path, most).decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"the licence in {path} cannot be read: {error}; mend it or move it away") from None
