"""Pictures that stand on both sides, found by what they hold and not by their names."""

import torch
from torch import Tensor

from vitzoo.evaluation.vectors import Vectors


def among(known: Vectors, queries: Vectors) -> Tensor:
    """(queries,) whether a picture is among the known ones, by its pixels."""
    return torch.isin(queries.copies, known.copies)


def shared(known: Vectors, queries: Vectors, what: str) -> tuple[str, ...]:
    """How many of the queries are among the known pictures and `what` became of that; nothing if none is."""
    count, every = int(among(known, queries).sum()), len(queries.copies)
    if not count:
        return ()
    many = f"all {every:,}" if count == every else f"{count:,} of {every:,}"
    by = "pixels" if queries.pictures.seen is None else "bytes"
    return (f"{many} evaluated pictures are in {known.pictures.where} too, by their {by}: {what}",)


def both(known: Vectors, queries: Vectors) -> tuple[str, ...]:
    """What was found on the way through the known pictures, beside what the evaluation lists itself."""
    lost = known.findings.skipped
    said = known.findings.remarks
    if not lost:
        return said
    first = f"the first is {lost[0].where}: {lost[0].reason}"
    return (f"{len(lost):,} pictures of {known.pictures.where} are left out; {first}", *said)
