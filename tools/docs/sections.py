"""The tables of evidence inside pages that are otherwise written by hand, from the marks on the tests."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from tools.house import FLOORS
from tools.proofs import ROOT, Proof, collect, known
from vitzoo.markdown import table

NOTHING = "**no test**"
SECTION = re.compile(r"(<!-- (\w+): written by `python -m tools\.docs` -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
ROOMS = [room for floor in FLOORS for room in floor]


def link(proof: Proof, page: Path) -> str:
    """The test, as a link from a page."""
    up = "../" * (len(page.parts) - 1)
    return f"[{proof.test}]({up}tests/{proof.file})"


def proving(claim: str, page: Path, proofs: Sequence[Proof]) -> str:
    """Links to the tests of one claim."""
    found = [link(proof, page) for proof in proofs if (proof.subject, proof.name) == ("claim", claim)]
    return ", ".join(found) or NOTHING


def rows_of(subject: str, names: Sequence[str], page: Path, proofs: Sequence[Proof]) -> list[tuple[str, ...]]:
    """Name, judge, tolerance and test of each proof, in the order of the names; a name without any says so."""
    rows: list[tuple[str, ...]] = []
    for name in names:
        mine = [proof for proof in proofs if (proof.subject, proof.name) == (subject, name)]
        rows += [(name, proof.against, proof.tolerance, link(proof, page)) for proof in mine]
        rows += [] if mine else [(name, NOTHING, "", "")]
    return rows


def policies(page: Path, proofs: Sequence[Proof]) -> list[str]:
    """Position tables, then patch kernels."""
    rows = [
        (kind, f"`{name}`", *rest)
        for kind, subject in (("position table", "policy"), ("patch kernel", "patch_policy"))
        for name, *rest in rows_of(subject, known()[subject], page, proofs)
    ]
    return table(("resampled", "policy", "against", "tolerance", "test"), rows)


def promises(subject: str, page: Path, proofs: Sequence[Proof]) -> list[str]:
    """The faults, or the attacks, under which each promise is kept."""
    rows = []
    for number, promise in enumerate(known()[subject], 1):
        found = rows_of(subject, [promise], page, proofs)
        rows += [(f"{number}. {promise}", fault, test) for _, fault, _, test in found]
    return table((subject, "kept under", "test"), rows)


def claims(page: Path, proofs: Sequence[Proof]) -> list[str]:
    """What the README says is verified: from the registry up through the rooms."""

    def height(proof: Proof) -> int:
        room = PurePosixPath(proof.file).parts[0]
        return ROOMS.index(room) if room in ROOMS else len(ROOMS)

    rows: dict[str, list[Proof]] = {}
    for proof in sorted((proof for proof in proofs if proof.subject == "claim"), key=height):
        rows.setdefault(proof.name, []).append(proof)
    return table(
        ("what", "against", "tolerance", "test"),
        [
            (
                name,
                "; ".join(dict.fromkeys(proof.against for proof in found)),
                "; ".join(dict.fromkeys(proof.tolerance for proof in found if proof.tolerance)),
                ", ".join(link(proof, page) for proof in found),
            )
            for name, found in rows.items()
        ],
    )


SECTIONS: dict[str, Callable[[Path, Sequence[Proof]], list[str]]] = {
    "claims": claims,
    "policies": policies,
    "promises": partial(promises, "promise"),
    "guarantees": partial(promises, "guarantee"),
}
PAGES = {
    Path("README.md"): "claims",
    Path("docs/resampling.md"): "policies",
    Path("docs/sources.md"): "promises",
    Path("docs/security.md"): "guarantees",
}
"""Pages by their path in the checkout, each with the section that it must have."""


def with_sections(page: Path, proofs: Sequence[Proof] | None = None) -> str:
    """A page by hand, its section written anew; a `ValueError` if it has lost it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = list(SECTION.finditer(text))
    if [match[2] for match in found] != [PAGES[page]]:
        raise ValueError(f"{page} needs one section <!-- {PAGES[page]}: written by `python -m tools.docs` -->")
    (match,) = found
    lines = SECTIONS[match[2]](page, collect() if proofs is None else proofs)
    return "".join([text[: match.end(1)], "\n", "\n".join(lines), "\n\n", text[match.start(3) :]])
