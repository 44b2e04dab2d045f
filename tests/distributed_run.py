"""One process of several: `distributed_run.py STRATEGY MODEL DATA OUTPUT [SIGNAL]`, under torchrun's variables."""

import os
import signal
import sys
from pathlib import Path

from training import run

from vitzoo.errors import VitzooError
from vitzoo.train.module import FineTuner

if __name__ == "__main__":
    strategy, model, data, output, *rest = sys.argv[1:]
    if rest and os.environ["RANK"] == "1":
        original = FineTuner.training_step

        def training_step(self: FineTuner, batch: object, batch_idx: int) -> object:
            if self.current_epoch == 1:
                os.kill(os.getpid(), getattr(signal, rest[0]))
            return original(self, batch, batch_idx)  # type: ignore[arg-type]

        FineTuner.training_step = training_step  # type: ignore[assignment, method-assign]
    try:
        run(Path(model), Path(data), Path(output), devices=2, strategy=strategy, resume=True)
    except VitzooError as error:
        sys.exit(f"vitzoo: {error}")
