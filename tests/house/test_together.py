"""Threads that share what belongs to the whole process, and a process that is told to end."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny

from vitzoo import registry
from vitzoo.registry import index


@pytest.mark.proves(guarantee="Threads and processes do not meet", against="16 threads that each add a registry")
def test_no_registry_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_loaded", None)
    fields = "\n".join(f"    {name}: {value}" for name, value in tiny.FIELDS.items())
    start = threading.Barrier(16)

    def add(number: int) -> None:
        path = tmp_path / f"f{number}.yaml"
        path.write_text(f"models:\n  own{number}:\n{fields}\n")
        start.wait()
        registry.add_registry(path)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(registry.knows(f"own{number}") for number in range(16))


@pytest.mark.proves(guarantee="Threads and processes do not meet", against="SIGTERM in the middle of a write")
def test_a_command_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    code = """if True:
        import sys, time, pathlib
        import vitzoo.cli
        from vitzoo.files.atomic import replacing
        def run():
            with replacing(pathlib.Path("out")) as partial:
                partial.write_bytes(bytes(1000))
                print("ready", flush=True)
                time.sleep(60)
        vitzoo.cli.main = run
        from vitzoo.__main__ import main
        main()
    """
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    process.stdout.close()
    assert list(tmp_path.iterdir()) == []
