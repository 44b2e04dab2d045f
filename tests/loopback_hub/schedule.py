"""When a fault strikes: by pattern and count, or by lot."""

import random
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .faults import Fault


@dataclass
class Rule:
    """A fault strikes `times` of the matching requests (None: all of them), after it let `after` of them pass."""

    fault: Fault
    method: str
    path: str
    times: int | None
    after: int
    matched: int = 0

    def draw(self, method: str, path: str) -> Fault | None:
        if not (fnmatchcase(method, self.method) and fnmatchcase(path, self.path)):
            return None
        self.matched += 1
        strikes = self.after < self.matched and (self.times is None or self.matched <= self.after + self.times)
        return self.fault if strikes else None


@dataclass
class Lottery:
    """A matching request meets one of the faults with this probability; the draws follow the order of arrival."""

    dice: random.Random
    probability: float
    among: tuple[Fault, ...]
    method: str
    path: str

    def draw(self, method: str, path: str) -> Fault | None:
        matches = fnmatchcase(method, self.method) and fnmatchcase(path, self.path)
        return self.dice.choice(self.among) if matches and self.dice.random() < self.probability else None


@dataclass
class Schedule:
    """All rules and lotteries of a hub, drawn by many threads."""

    entries: list[Rule | Lottery] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, entry: Rule | Lottery) -> None:
        with self.lock:
            self.entries.append(entry)

    def clear(self) -> None:
        with self.lock:
            self.entries.clear()

    def draw(self, method: str, path: str) -> tuple[Fault, ...]:
        with self.lock:
            drawn = [entry.draw(method, path) for entry in self.entries]
        return tuple(fault for fault in drawn if fault is not None)
