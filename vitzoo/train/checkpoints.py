"""Checkpoints that are whole or not there, and what stops a run, in one line."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from vitzoo.errors import DataError, ImageError, TrainingError, WeightsError
from vitzoo.files.atomic import replacing
from vitzoo.files.pickle import unpickled

IN_A_LOADER = "in DataLoader worker process"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"


class WholeFileIO(TorchCheckpointIO):
    """Writes beside the old checkpoint and renames, on the same disk.

    Lightning's own writer moves the file from the system's temporary folder, which copies it where that is another
    disk: a kill then leaves half a checkpoint in place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)


def part_of(checkpoint: Path, name: str) -> dict[str, Any]:
    """An entry of a checkpoint of a run.

    Raises:
        TrainingError: the file is damaged, or no checkpoint of a run.
    """
    try:
        found = unpickled(checkpoint)
    except WeightsError as error:
        raise TrainingError(f"{error}; without it --resume cannot go on: name another folder") from None
    if not isinstance(found, dict) or not isinstance(found.get(name), dict):
        raise TrainingError(f"{checkpoint} is no checkpoint of a run: it has no '{name}'; name another folder")
    return dict(found[name])


@contextmanager
def explained(output: Path) -> Iterator[None]:
    """What stops a run from outside becomes one TrainingError that names the last good checkpoint."""
    try:
        yield
    except TrainingError as error:  # the same settings would end there again
        last = output / LAST
        kept = f"the last good checkpoint is {last}" if last.exists() else "there is no checkpoint yet"
        raise type(error)(f"{error}; {kept}") from error
    except (KeyboardInterrupt, SystemExit) as error:  # Lightning makes SystemExit of Ctrl-C and of SIGTERM
        raise TrainingError(f"stopped from outside. {_where_to_go_on(output)}") from error
    except (
        DataError,
        ImageError,
        FileNotFoundError,
        PermissionError,
    ) as error:  # not a full disk
        last = output / LAST
        kept = f"{last} is whole" if last.exists() else "there is no checkpoint yet"
        raise TrainingError(
            f"{_said(error)}. It could be read when the run began: put it back as it was, and go on with --resume; or "
            f"begin anew without it in another output ({kept})"
        ) from error
    except (OSError, RuntimeError, WeightsError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise TrainingError(f"{reason}. {_where_to_go_on(output)}") from error


def _said(error: BaseException) -> str:
    """The message of an error; of one that came out of a process that loads pictures, without its traceback.

    torch passes such an error on as one of its kind whose message is the whole traceback; the last line is the error's.
    """
    text = str(error)
    return text.strip().splitlines()[-1].partition(": ")[2] if IN_A_LOADER in text else text


def _reason(error: BaseException) -> str | None:
    """The cause in plain words, if it lies outside of the program."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        chain.append(link)
        link = link.__cause__ or link.__context__
    text = " ".join(" ".join(map(str, chain)).split())
    if any(isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT) for link in chain):
        return "the disk is full: free some space"
    if "DataLoader worker" in text and IN_A_LOADER not in text:
        return f"a process that loads pictures died ({_first_sentence(text)}): it may have run out of memory"
    if any(isinstance(link, torch.OutOfMemoryError) for link in chain):
        return "the device's memory is full: raise accumulate, or set grad_checkpointing"
    if isinstance(error, torch.distributed.DistError) or "closed by peer" in text or "gloo" in text.lower():
        return f"another process of the run was lost ({_first_sentence(text)})"
    if isinstance(error, OSError):
        return f"a file cannot be read or written: {_said(error)}"
    return None


def _first_sentence(text: str) -> str:
    return text[:160].partition(". ")[0]


def _where_to_go_on(output: Path) -> str:
    last = output / LAST
    return (
        f"{last} is whole: go on with --resume" if last.exists() else "there is no checkpoint yet: --resume begins anew"
    )
