"""The names of ImageNet's classes as the installed timm has them: `python -m tools.labels [--check]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from timm.data import ImageNetInfo

from vitzoo.registry.label_sets import COMMENT, LETTERS

FILE = Path(__file__).parents[1] / "registry" / "labels" / "imagenet.tsv"
HEAD = f"""\
{COMMENT} Classes of ImageNet and its subsets: synset of WordNet, the sets that have it, names.
{COMMENT} Sets: {", ".join(f"{letter} {name}" for name, letter in LETTERS.items())}.
{COMMENT} Each is in the order of this file, but imagenet-22k-ms has the classes of imagenet-1k first.
{COMMENT} Sets and names are those of timm (timm/data/_info, Apache-2.0), which has the names from WordNet 3.0:
{COMMENT} WordNet Release 3.0, Copyright 2006 by Princeton University. All rights reserved. Permission to use, copy,
{COMMENT} modify and distribute is given by its licence, https://wordnet.princeton.edu/license-and-commercial-use
"""


def text() -> str:
    """The whole file.

    Raises:
        ValueError: two sets of timm have other names for one synset, or names that the file cannot hold.
    """
    names: dict[str, str] = {}
    sets: dict[str, str] = {}
    for name, letter in LETTERS.items():
        info = ImageNetInfo(name)
        for synset, said in zip(info.label_names(), info.label_descriptions(), strict=True):
            if names.setdefault(synset, said) != said or "\t" in said or "\n" in said:
                raise ValueError(f"{name}: {synset} is {said!r}, and was {names[synset]!r}")
            sets[synset] = sets.get(synset, "") + letter
    return HEAD + "".join(f"{synset}\t{sets[synset]}\t{names[synset]}\n" for synset in sorted(names))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if the file is another")
    wanted = text()
    if parser.parse_args(arguments).check:
        if FILE.is_file() and FILE.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{FILE} is not what timm says; run python -m tools.labels")
        return 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(wanted, encoding="utf-8")
    print(f"wrote {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
