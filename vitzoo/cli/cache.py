"""`vitzoo cache list | verify | prune | prefetch`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vitzoo.cli.options import MANY, AsJson, Names, models
from vitzoo.cli.tables import columns
from vitzoo.errors import WeightsError

app = typer.Typer(help="What is on this disk.", no_args_is_help=True)


@app.command("list")
def list_(names: Names = None, as_json: AsJson = False) -> None:
    """List the weights that are cached: size, last use, where."""
    from vitzoo.sources.storage import cached

    rows = cached(names or ())
    if as_json:
        print(json.dumps([{**asdict(row), "path": str(row.path)} for row in rows], indent=2))
        return
    if not rows:
        print("nothing is cached; `vitzoo cache prefetch NAME` fetches")
        return
    table = [("size", "last use", "name", "address")]
    table += [
        (bytes_in_words(row.size), _day(row.last_used), row.names[0] if row.names else "-", row.address) for row in rows
    ]
    print(columns(table, right=(0,)))
    print(f"{bytes_in_words(sum({row.path.resolve(): row.size for row in rows}.values()))} in {len(rows)} files")


@app.command()
def verify(names: Names = None, as_json: AsJson = False) -> None:
    """Read cached files again and compare their digests. A damaged file is put aside; exit code 1."""
    from vitzoo.sources.storage import cached
    from vitzoo.sources.storage import verify as check

    found = []
    for row in cached(names or ()):
        wrong = check(row)
        state = "damaged" if wrong else "ok" if row.promise.digest else "readable, no digest is known"
        found.append({"address": row.address, "state": state, "detail": wrong})
        if not as_json:
            print(f"{state}  {row.address}" + (f"\n    {wrong}" if wrong else ""))
    if not found:
        raise WeightsError(
            "no weights are cached, so there is nothing to verify; `vitzoo cache prefetch NAME` fetches some"
        )
    if as_json:
        print(json.dumps(found, indent=2))
    if any(one["state"] == "damaged" for one in found):
        raise typer.Exit(1)


@app.command()
def prune(
    names: Annotated[list[str] | None, typer.Argument(help="weights to delete, too", autocompletion=models)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would go; delete nothing")] = False,
) -> None:
    """Delete rejected files, abandoned downloads, commits that no branch points to, and the weights that are named.

    Of weights from the hub the whole commit goes, with all of its files.
    """
    from vitzoo.sources import storage

    commits, paths = storage.holders(storage.cached(names) if names else [])
    commits = list(dict.fromkeys([*commits, *storage.old_commits()]))
    paths += storage.leftovers()
    lines = [f"hf://{repo}@{commit}" for repo, commit in commits] + [str(path) for path in paths]
    print("\n".join(lines) if lines else "nothing to delete")
    if lines and not dry_run:
        print(f"{bytes_in_words(storage.remove(commits, paths))} freed")


@app.command()
def prefetch(
    names: Annotated[list[str], typer.Argument(help=MANY, autocompletion=models)],
    mirror: Annotated[Path | None, typer.Option(help="also copy into this folder, for VITZOO_MIRROR")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch weights now, so that later nothing needs the network."""
    from vitzoo.sources import storage

    found = []
    for name in names:
        fetched = storage.prefetch(name, mirror)
        size = sum(held.size for held in fetched.files)
        found.append({"name": name, "origin": str(fetched.origin), "path": str(fetched.path), "size": size})
        if not as_json:
            print(f"{name}: {bytes_in_words(size)}, {fetched.origin}")
    if as_json:
        print(json.dumps(found, indent=2))


def bytes_in_words(count: int) -> str:
    """`1.2 GB`, in powers of ten."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count} B"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
