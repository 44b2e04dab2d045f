"""Files of every kind, changed at random: a right result or an error of vitzoo's own, in bounded time and memory.

pytest tests/fuzz                                   a few changes of each kind, always the same
VITZOO_FUZZ=20000 pytest tests/fuzz -s -n 2         as many of each kind, others each time: hours
"""

import os
import random
import resource
import time
import warnings
from pathlib import Path

import pytest
from fuzz.corpus import KINDS, Kind
from fuzz.tables import TABLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitzoo.errors import VitzooError

EXAMPLES = int(os.environ.get("VITZOO_FUZZ", "15"))
LONGEST = 20.0  # seconds of the processor for one file
LARGEST = 1500 << 10  # kilobytes that the process may grow by: a picture of 160 megapixels has 640 << 10
WORDS = (
    b"0",
    b"-1",
    b"1000000000",
    b"99999999999999999999",
    b"1e999",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"[[[[[[[[",
)
WORDS += (
    b"true",
    b"../../x",
    b"\xff\xff\xff\xff",
    b"\0" * 8,
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"2020-01-01",
    b"*a",
    b"\n",
)


def changed(data: bytes, seed: int, steps: int) -> bytes:
    """A file with a few random changes: bytes, words, pieces that are left out, doubled or swapped, an early end."""
    draw, found = random.Random(seed), bytearray(data)
    for _ in range(steps):
        at, way = draw.randrange(len(found) + 1), draw.randrange(7)
        to = min(len(found), at + draw.choice((1, 2, 4, 8, 64, 512)))
        if way == 0 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif way == 1 and at < len(found):
            found[at] = draw.randrange(256)
        elif way == 2:
            found[at : at + draw.choice((0, 1, 4, 8))] = draw.choice(WORDS)
        elif way == 3:
            del found[at:to]
        elif way == 4:
            found[at:at] = found[at:to] * draw.choice((1, 2, 100))
        elif way == 5:
            start = draw.randrange(len(found) + 1)
            found[at:to] = found[start : start + to - at]
        elif draw.randrange(4) == 0:
            del found[at:]
    return bytes(found)


@pytest.mark.proves(guarantee="A file is right or an error", against="files of every kind, changed at random")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*KINDS, *TABLES], ids=lambda kind: kind.name)
def test_changed_files(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    path, outcomes, slowest = tmp_path / kind.name, {"read": 0, "refused": 0}, 0.0
    longest = 0
    kind.make(path)
    kind.read(path)  # a corpus that is refused as it stands would prove nothing
    data, before = path.read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    own = settings(max_examples=EXAMPLES, derandomize="VITZOO_FUZZ" not in os.environ, database=None, deadline=None)

    @settings(own, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**62), steps=st.integers(1, 6))
    def check(seed: int, steps: int) -> None:
        nonlocal slowest, longest
        path.write_bytes(changed(data, seed, steps))
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kind.read(path)
            outcomes["read"] += 1
        except VitzooError as error:
            outcomes["refused"] += 1
            longest = max(longest, len(str(error)))
        slowest = max(slowest, time.process_time() - start)
        assert slowest < LONGEST
        assert longest < 4000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGEST

    check()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(f"{kind.name}: {outcomes}, at most {slowest:.2f} s, {grown} MB more")
    assert outcomes["refused"]
