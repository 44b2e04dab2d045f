"""`vitzoo pin`: the lock file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vitzoo.cli.options import MANY, AsJson, models
from vitzoo.errors import WeightsError


def pin(
    names: Annotated[list[str] | None, typer.Argument(help=MANY, autocompletion=models)] = None,
    lock: Annotated[Path | None, typer.Option(help="the lock file; $VITZOO_LOCK or vitzoo.lock if not given")] = None,
    check: Annotated[bool, typer.Option("--check", help="show what the sources have now; change nothing")] = False,
    update: Annotated[bool, typer.Option("--update", help="take what the sources have now")] = False,
    registry: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="of a registry: add digests of its sources, of NAME... or of all"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write down the exact bytes that names stand for; `create` then takes these or fails.

    --check and --update are for all pinned names if none is given. Exit code 1 if --check finds other bytes, another
    source or another licence, or if --registry meets sources that give no digest.
    """
    if registry is not None:
        if lock or check or update:
            raise WeightsError("--registry writes the digests of a registry and no lock; leave the other options out")
        _registry(registry, names or [], as_json)
        return
    from vitzoo.sources import pin as pinning
    from vitzoo.sources.lock import NAME, lock_in_force, read_lock

    path = lock or lock_in_force() or Path(NAME)
    if check and update:
        raise WeightsError("--check changes nothing, --update does; give one of them")
    if not names and not (check or update):
        raise WeightsError("nothing to pin; name models, weights, hf-hub:org/repo or addresses")
    if check:
        changes = pinning.compare(path, names or ())
    else:
        changes = pinning.pin(names or list(read_lock(path).entries), path, update)
    if as_json:
        print(json.dumps([asdict(change) for change in changes], indent=2))
    elif changes:
        print("\n".join(map(str, changes)))
    else:
        print(f"{path}: nothing has changed")
    if check and any(change.matters for change in changes):
        raise typer.Exit(1)


def _registry(folder: Path, names: list[str], as_json: bool) -> None:
    """Say what became of each source as it is known."""
    from vitzoo.sources.digests import Asked, pin_registry

    found: list[Asked] = []

    def told(one: Asked) -> None:
        found.append(one)
        if not as_json:
            print(f"{one.address}: {one.said if one.sha256 is None else f'sha256 {one.sha256}, stated {one.said}'}")

    failures = pin_registry(folder, names, told)
    if as_json:
        print(json.dumps([one._asdict() for one in found], indent=2))
    elif not found:
        print(f"{folder}: all digests are known")
    if failures:
        raise typer.Exit(1)
