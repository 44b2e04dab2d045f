"""One sample in a process of its own: `worker.py start|memory|memory-forward CONTENDER FOLDER`.

It prints one line: `start` the number of logits, once they are there; the others the peak of resident memory above
what was resident after the imports, in bytes (Linux).
"""

import re
import sys
from pathlib import Path

import contenders


def resident(what: str) -> int:
    """VmRSS or VmHWM (its peak) of this process. getrusage's peak would count the parent's, from before exec."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main(what: str, contender: str, folder: Path) -> None:
    contenders.import_modules(contender)
    if what != "start":
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = resident("VmRSS")
    model = contenders.create(contender, folder)
    logits = 0
    if what != "memory":
        import torch

        with torch.inference_mode():
            logits = model(torch.zeros(1, 3, 224, 224)).shape[-1]
    print(logits if what == "start" else resident("VmHWM") - before, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
