"""`vitzoo list`: what the registry has, compared. It does not import torch."""

import csv
import io
import json
import sys
from typing import Annotated

import typer

from vitzoo import registry
from vitzoo.cli.options import AsJson
from vitzoo.cli.tables import columns as aligned
from vitzoo.cli.tables import millions, size
from vitzoo.errors import RegistryError
from vitzoo.registry import catalogue
from vitzoo.registry.entry import Entry

MODELS, WEIGHTS = ("name", "params", "img_size", "weights"), ("name", "params", "img_size", "classes", "license")
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", "-w", metavar="CONDITION", help="e.g. 'in1k>=84', 'name~dino*', 'macs<5G'; may be repeated"
    ),
]
License = Annotated[list[str] | None, typer.Option(help="only weights under this licence; may be repeated")]
MaxParams = Annotated[
    str | None, typer.Option("--max-params", metavar="N", help="at most so many parameters, e.g. 30M")
]
MinSize = Annotated[int | None, typer.Option("--min-size", help="pictures of at least so many pixels a side")]
Commercial = Annotated[
    bool, typer.Option("--commercial", help="only licences that ask for no more than credit and their text")
]


def list_(
    pattern: Annotated[
        str, typer.Argument(help="a name or an alias, also with * and ?, e.g. 'vit_b*' or '*augreg*'")
    ] = "*",
    license: License = None,
    models: Annotated[bool, typer.Option("--models", help="architectures instead of weights")] = False,
    where: Where = None,
    max_params: MaxParams = None,
    min_size: MinSize = None,
    commercial: Commercial = False,
    sort: Annotated[str | None, typer.Option("--sort", metavar="COLUMN", help="the best first")] = None,
    pareto: Annotated[
        str | None, typer.Option("--pareto", metavar="COLUMN,COLUMN", help="only what no other beats in both")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="COLUMN,...", help="to show; --columns help lists them")
    ] = None,
    most: Annotated[int | None, typer.Option("--most", "-n", min=1, help="at most so many lines")] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of text")] = False,
) -> None:
    """List weights (or, with --models, architectures), compared by size, licence and published figures."""
    if columns == "help":
        print(_columns_in_words())
        return
    if as_json and as_csv:
        raise RegistryError("--json and --csv are two ways to write the same list; give one")
    names = registry.list_models(pattern) if models else registry.list_pretrained(pattern, license=license)
    conditions = conditions_of(where, max_params, min_size, commercial)
    pair = pareto.split(",") if pareto else []
    left = _left(names, conditions, pair)
    if sort:
        left = catalogue.ordered(left, sort)
    if not left:
        asked = [
            *([f"under {' or '.join(license)}"] if license else []),
            *map(str, conditions),
            *([f"on the front of {pareto}"] if pair else []),
        ]
        near = "; ask for less" if names else registry.near(pattern) or "; try `vitzoo list` without arguments"
        raise RegistryError(f"nothing matches '{pattern}'{' and ' + ' and '.join(asked) if asked else ''}{near}")
    asked = [one.column for one in conditions] + pair + ([sort] if sort else [])
    shown = _shown(columns, MODELS if models else WEIGHTS, asked)
    _print([_row(entry, shown) for entry in left[:most]], as_json, as_csv)


def conditions_of(
    where: list[str] | None, max_params: str | None, min_size: int | None, commercial: bool
) -> list[catalogue.Condition]:
    """The options of a command as conditions."""
    texts = list(where or ())
    texts += [f"params<={max_params}"] if max_params is not None else []
    texts += [f"img_size>={min_size}"] if min_size is not None else []
    texts += ["commercial=yes"] if commercial else []
    return [catalogue.condition(text) for text in texts]


def _left(names: list[str], conditions: list[catalogue.Condition], pair: list[str]) -> list[Entry]:
    """The entries for which the conditions hold, of those that no other beats if there is a pair of columns."""
    found = catalogue.select(map(registry.record, names), conditions)
    _say_unknown(found)
    if not pair:
        return found.entries
    if len(pair) != 2:
        raise RegistryError(f"--pareto takes two columns, such as params,in1k; found '{','.join(pair)}'")
    found = catalogue.front(found.entries, *pair)
    _say_unknown(found)
    return found.entries


def _say_unknown(found: catalogue.Selection) -> None:
    """What was left out since nobody measured it, beside the results."""
    for column, count in found.unknown.items():
        print(f"left out: {count} without a known {column}", file=sys.stderr)


def _shown(columns: str | None, usual: tuple[str, ...], asked: list[str]) -> list[str]:
    """The columns to show: those that were asked for, or the usual ones and what conditions and order look at."""
    if columns is not None:
        return ["name", *(catalogue.checked_column(one) for one in columns.split(",") if one != "name")]
    return list(dict.fromkeys([*usual, *(one for one in asked if one not in ("model", "commercial"))]))


def _row(entry: Entry, shown: list[str]) -> dict[str, catalogue.Value]:
    row: dict[str, catalogue.Value] = {}
    for column in shown:
        if column == "weights":
            row[column] = len(registry.entries_of(entry.name))
        elif column == "img_size":
            row[column] = size(entry.spec["img_size"])
        else:
            row[column] = catalogue.value_of(entry, column)
    if "classes" in row:
        row["out_dim"] = catalogue.value_of(entry, "out_dim")
    return row


def _print(rows: list[dict[str, catalogue.Value]], as_json: bool, as_csv: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if as_csv:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        print(text.getvalue(), end="")
        return
    names = [name for name in rows[0] if name != "out_dim" or "classes" not in rows[0]]
    right = tuple(i for i, name in enumerate(names) if any(isinstance(row[name], int | float) for row in rows))
    right += (names.index("img_size"),) if "img_size" in names else ()
    print(aligned([tuple(names), *(tuple(_cell(row, name) for name in names) for row in rows)], right=right))


def _cell(row: dict[str, catalogue.Value], name: str) -> str:
    """An embedding is called one, since its width counts no classes; what nobody measured is a dash."""
    value = row[name]
    if name == "classes" and row["out_dim"]:
        return f"{row['out_dim']}-d embedding"
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "params":
        return millions(float(value))
    if name == "macs":
        return f"{float(value) / 1e9:,.2f}G"
    return f"{value:,.10g}" if isinstance(value, float) else str(value)


def _columns_in_words() -> str:
    measured = [
        (name, f"{one['title']} ({one['unit']}; {one['measured_by']})") for name, one in registry.measures().items()
    ]
    return aligned([*((name, "of the entry") for name in catalogue.FIELDS), *measured])
