"""The processor of this machine, and what it can do at once."""

import platform
import re
from pathlib import Path
from typing import NamedTuple

from vitzoo.engines.record import DEMANDS, Precision

CPUINFO = Path("/proc/cpuinfo")


class Processor(NamedTuple):
    """What computes here."""

    name: str
    instructions: frozenset[str] | None
    """As Linux names them; None where they are not known."""

    def lacks(self, precision: Precision) -> frozenset[str]:
        """Instructions of which a precision needs one, if there is none; nothing where that is not known."""
        needed = DEMANDS[precision].instructions
        return frozenset() if self.instructions is None or needed & self.instructions else needed


def processor() -> Processor:
    """Of this machine."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Processor(platform.processor() or platform.machine(), None)
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    found = None if flags is None else frozenset(flags[1].split())
    return Processor(name[1] if name else platform.machine(), found)
