"""One sample in a process of its own: `worker.py start|memory|memory-forward CONTENDER FOLDER`.

`start` prints the number of logits once they are there, the others the peak of resident memory above what was resident
after the imports, in bytes. Memory is read as Linux tells it; getrusage's peak would count the parent's before exec.
"""

import re
import sys
from pathlib import Path

import contenders


def resident(field: str) -> int:
    """VmRSS of this process, or VmHWM, its peak."""
    return 1024 * int(re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


if __name__ == "__main__":
    what, contender, folder = sys.argv[1:]
    contenders.import_modules(contender)
    if what != "start":
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = resident("VmRSS")
    model = contenders.create(contender, Path(folder))
    if what != "memory":
        import torch

        with torch.inference_mode():
            classes = contenders.logits(model, torch.zeros(1, 3, 224, 224)).shape[-1]
    print(classes if what == "start" else resident("VmHWM") - before, flush=True)
