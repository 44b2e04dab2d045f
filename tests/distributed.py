"""Processes of a run that is spread over several, forked from one that has imported torch already."""

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from training import run

from vitzoo.errors import VitzooError
from vitzoo.train.module import FineTuner

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


class Finished(NamedTuple):
    returncode: int | None
    stderr: str


def two_processes(strategy: str, model: Path, data: Path, output: Path, lost_by: str | None = None) -> list[Finished]:
    """What torchrun starts, without its agent, so that a process that dies takes no other with it."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    said = [output.with_name(f"stderr{rank}") for rank in range(2)]
    running = []
    for rank, file in enumerate(said):
        variables = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        killed_by = lost_by if rank == 1 else None
        running.append(
            CONTEXT.Process(target=_process, args=(variables, file, strategy, model, data, output, killed_by))
        )
        running[-1].start()
    for process in running:
        process.join()
    return [Finished(process.exitcode, file.read_text()) for process, file in zip(running, said, strict=True)]


def _free_port() -> int:
    """One that the system gives nobody by itself: a browser of another test would take it before it is used."""
    for port in random.Random().sample(range(20_000, 30_000), 100):
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise OSError("no port from 20,000 to 30,000 is free")


def _process(
    variables: dict[str, str], stderr: Path, strategy: str, model: Path, data: Path, output: Path, lost_by: str | None
) -> None:
    """One of them; `lost_by` is the signal that ends it in the second epoch."""
    os.environ.update(variables)
    with stderr.open("wb") as file:
        os.dup2(file.fileno(), 2)
    if lost_by:
        original = FineTuner.training_step

        def training_step(self: FineTuner, batch: object, batch_idx: int) -> object:
            if self.current_epoch == 1:
                os.kill(os.getpid(), getattr(signal, lost_by))
            return original(self, batch, batch_idx)  # type: ignore[arg-type]

        FineTuner.training_step = training_step  # type: ignore[assignment, method-assign]
    try:
        run(model, data, output, devices=2, strategy=strategy, resume=True)
    except VitzooError as error:
        sys.exit(f"vitzoo: {error}")
