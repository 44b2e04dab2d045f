"""However a command ends, the shell understands it: no traceback, and an exit code that says what it was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

VITZOO = [sys.executable, "-m", "vitzoo"]
CAT = Path(__file__).parents[2] / "examples" / "cat.png"


@pytest.mark.parametrize("command", [["list"], ["recipes"], ["info", "vit_b16"], ["classify", str(CAT), "--json"]])
def test_nobody_reads_on(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*VITZOO, *command], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", [["list"], ["recipes"], ["--help"]])
def test_no_room_for_the_answer(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*VITZOO, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "vitzoo: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("module", ["typer", "torch", "PIL.Image", "vitzoo.checkpoints.create"])
def test_control_c_while_something_is_imported(module: str) -> None:
    """The import of `module` is where the signal comes."""
    code = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from vitzoo.__main__ import main\n"
        f"sys.argv = ['vitzoo', 'classify', {str(CAT)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_control_c_while_it_waits() -> None:
    with subprocess.Popen(
        [*VITZOO, "classify", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        wchan = Path(f"/proc/{running.pid}/wchan")
        for _ in range(600):  # until it waits for the names of pictures
            time.sleep(0.05)
            if wchan.exists() and "pipe" in wchan.read_text():
                break
        else:
            time.sleep(5)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, "")


def test_models_that_differ_are_1_and_what_is_wrong_is_2(run, tmp_path: Path) -> None:
    import vitzoo

    paths = [vitzoo.save(vitzoo.create("vit_nano4", generator=i), tmp_path / f"{i}.safetensors") for i in (0, 1)]
    assert run("verify", *paths, "--img-size", "32").code == 1
    assert run("verify", paths[0], paths[0], "--img-size", "32").code == 0
    assert run("verify", paths[0], tmp_path / "none.safetensors").code == 2


def test_a_report_on_nothing_is_an_error(run, hub, tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text("family: acme")
    (tmp_path / "vitzoo.lock").write_text("{}")
    for command, said in (
        (("registry", "check", tmp_path / "acme.yaml"), "neither models nor weights, so nothing was checked"),
        (("pin", "--check"), "pins nothing, so there is nothing to compare; add names with `vitzoo pin NAME`"),
        (("cache", "verify"), "no weights are cached, so there is nothing to verify"),
    ):
        result = run(*command)
        assert (result.code, result.out) == (2, "")
        assert said in result.err
