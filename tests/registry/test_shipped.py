"""The package's own registry, compiled: what a start reads, where it is kept, and that entries stay what they are."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools import digests
from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry import index, shipped

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "registry"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of one file that takes the place of the package's own."""
    own = tmp_path / "registry"
    (own / "families").mkdir(parents=True)
    (own / "families" / "acme.yaml").write_text(
        "models:\n  acme: {hidden_dim: 8, depth: 1, num_heads: 1, mlp_dim: 8}\n"
    )
    monkeypatch.setattr(shipped, "data_dir", lambda: own)
    return own


def read() -> list[str]:
    return sorted(shipped.compiled(index.compiled)["models"])


def never() -> dict[str, object]:
    raise AssertionError("the YAML is read again")


def test_where_the_files_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert shipped.data_dir() == ROOT / "registry"
    (tmp_path / "vitzoo" / "_registry").mkdir(parents=True)
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "vitzoo" / "registry" / "shipped.py"))
    assert shipped.data_dir() == tmp_path / "vitzoo" / "_registry"
    (tmp_path / "vitzoo" / "_registry").rmdir()
    with pytest.raises(RegistryError, match="install vitzoo again"):
        shipped.data_dir()


# --- what a start reads


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        ("sys.argv = ['vitzoo', 'list']; from vitzoo.cli import main; main()", "yaml pydantic torch"),
        ("sys.argv = ['vitzoo', 'list', '--models']; from vitzoo.cli import main; main()", "yaml pydantic torch"),
        ("sys.argv = ['vitzoo', 'info', 'vit_b_16']; from vitzoo.cli import main; main()", "yaml torch"),
        ("from vitzoo import registry; [registry.entry_spec(n) for n in registry.with_layout('timm')]", "yaml torch"),
        ("from vitzoo import registry; registry.weights_entry('vit_b_16')", "yaml torch timm torchvision numpy"),
    ],
)
def test_looking_things_up_reads_no_yaml(code: str, banned: str) -> None:
    read()  # the cache is filled
    code = f"import sys; {code}; sys.exit(' '.join(m for m in {banned.split()} if m in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wheels_own_file_is_taken_and_nothing_is_kept(folder: Path, cache: Path) -> None:
    (folder / shipped.COMPILED).write_text(json.dumps({"models": {"from_the_wheel": []}}))
    assert shipped.compiled(never) == {"models": {"from_the_wheel": []}}
    assert not cache.exists()


def test_the_cache_belongs_to_one_content(folder: Path, cache: Path) -> None:
    assert read() == ["acme"]
    assert len(list(cache.iterdir())) == 1
    shipped.compiled(never)
    file = folder / "families" / "acme.yaml"
    before = file.stat()
    file.write_text(file.read_text().replace("acme", "acne"))  # as long as before
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read() == ["acne"]
    (folder / "presets.yaml").write_text("models:\n  _x: {depth: 3}\n")
    with pytest.raises(AssertionError, match="the YAML is read again"):
        shipped.compiled(never)


def test_the_cache_belongs_to_the_code_that_reads_it(folder: Path, cache: Path) -> None:
    parts = {file.name for file in shipped._parts(folder)}
    assert {"acme.yaml", "families.py", "index.py", "architecture.py", "weights.py", "tensors.py"} <= parts


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_cache_is_written_again(folder: Path, cache: Path, content: bytes) -> None:
    read()
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert read() == ["acme"]
    shipped.compiled(never)


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file in the folder's place")
    assert read() == read() == ["acme"]


def test_writers_at_the_same_time_leave_one_whole_file(folder: Path, cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: read(), range(16))) == [["acme"]] * 16
    (file,) = cache.iterdir()
    assert sorted(json.loads(file.read_text())["models"]) == ["acme"]


def test_old_states_of_a_checkout_are_removed(folder: Path, cache: Path) -> None:
    for number in range(shipped.KEPT + 3):
        (folder / "presets.yaml").write_text(f"models:\n  _x: {{depth: {number + 1}}}\n")
        read()
    assert len(list(cache.iterdir())) == shipped.KEPT
    shipped.compiled(never)


def test_a_broken_file_is_an_error_and_not_kept(folder: Path, cache: Path) -> None:
    (folder / "families" / "acme.yaml").write_text("models:\n  acme: {hiden_dim: 8}\n")
    with pytest.raises(RegistryError, match=r"acme: unknown field 'hiden_dim'; did you mean hidden_dim"):
        read()
    assert not cache.exists()


# --- what it says


def test_what_is_compiled_is_what_the_yaml_says() -> None:
    fresh, loaded = index._Registry().extended(shipped.data_dir()), index._Registry(index.compiled())
    assert list(fresh.weights) == list(loaded.weights)
    assert fresh.aliases == loaded.aliases
    for name in (*fresh.models, *fresh.weights):
        assert fresh.spec(name) == loaded.spec(name)
    for name in fresh.weights:
        assert fresh.entry(name) == loaded.entry(name)


def test_entries_are_what_they_were() -> None:
    """Each model and entry, field by field, against its digest; new ones are free until `python -m tools.digests`."""
    known = digests.read()
    assert len(known) >= 179 + 518
    found = digests.digests()
    assert [name for name, digest in known.items() if found.get(name) != digest] == []


def test_a_digest_sees_every_field(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry.record("vit_b16.augreg_in21k")
    own = digests.digest(entry)
    assert entry.weights is not None
    assert digests.digest(entry._replace(aliases=[*entry.aliases, "x"])) != own
    assert digests.digest(entry._replace(spec={**entry.spec, "num_heads": 6})) != own
    for field in ("license", "origin", "resample", "labels", "sources", "preprocessing", "params", "note", "spec"):
        assert digests.digest(entry._replace(weights={**entry.weights, field: "another"})) != own, field
