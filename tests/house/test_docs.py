"""The generated pages are those of the registry and the layouts, and say nothing that is not so."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import SMALLEST

import vitzoo
from tools import drift
from tools.docs.__main__ import main, pages
from tools.docs.layouts import VERSIONS, beside, layouts_page
from tools.docs.models import families, from_timm, models_of
from tools.docs.sections import with_sections
from tools.proofs import Proof, WrongMark, collect, known, wrong_proofs
from vitzoo import ViT, registry
from vitzoo.layouts.tables import LAYOUTS
from vitzoo.markdown import table
from vitzoo.registry.describe import count_parameters
from vitzoo.spec import ViTSpec

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SPEC = ViTSpec(**SMALLEST)


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return {page.as_posix(): text for page, text in pages().items()}


# --- generated pages -------------------------------------------------------------------------------------------------


def test_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_check_sees_a_page_that_differs_is_missing_or_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    (tmp_path / "docs" / "models.md").write_text("mine")
    (tmp_path / "docs" / "layouts.md").unlink()
    (tmp_path / "docs" / "families" / "gone.md").write_text("")
    capsys.readouterr()
    assert main(["--check"], tmp_path) == 1
    told = capsys.readouterr().out
    assert [name in told for name in ("models.md", "layouts.md", "gone.md", "vit.md")] == [True, True, True, False]
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    assert not (tmp_path / "docs" / "families" / "gone.md").exists()


def test_every_model_and_every_weights_entry_has_a_row(written: dict[str, str]) -> None:
    assert {name for family in families() for name in models_of(family)} == set(registry.list_models())
    for name in registry.list_models():
        assert written["docs/models.md"].count(f"\n| `{name}` |") == 1
    for family in families():
        page = written[f"docs/families/{family.family}.md"]
        for name in models_of(family):
            assert all(page.count(f"\n| `{full}` |") == 1 for full in registry.list_pretrained(f"{name}.*"))


def test_every_family_says_what_it_is(written: dict[str, str]) -> None:
    for family in families():
        assert family.title, family.family
        assert family.about, family.family
        assert family.about.strip() in written[f"docs/families/{family.family}.md"]


def test_tables_have_as_many_cells_as_columns(written: dict[str, str]) -> None:
    """A bar in a note or a licence would open a column."""
    for page, text in written.items():
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, f"{page}: {block[:80]}"
    assert table(("a",), [("x|y",)])[-1] == r"| x\|y |"


def links() -> Iterator[tuple[Path, str]]:
    for file in sorted(DOCS.rglob("*.md")):
        for link in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
            if not link.startswith(("http", "#")):
                yield file, link.partition("#")[0]


def test_links_lead_somewhere() -> None:
    found = list(links())
    assert len(found) > len(families())
    for file, link in found:
        assert (file.parent / link).exists(), f"{file.relative_to(ROOT)}: {link}"


# --- numbers ---------------------------------------------------------------------------------------------------------


def differing(name: str, millions: float) -> bool:
    """Papers round, and leave classifiers out or in: a million or 6 % is no difference."""
    return abs(count_parameters(registry.model_spec(name)) / 1e6 - millions) > max(1.0, 0.06 * millions)


def test_published_sizes_are_ours() -> None:
    found = {
        name: millions
        for family in families()
        for published in family.published
        for name, millions in published.params.items()
    }
    assert len(found) > 30
    assert all(name in models_of(family) for family in families() for p in family.published for name in p.params)
    assert [name for name, millions in found.items() if differing(name, millions)] == []
    assert differing("vit_l16", found["vit_h14"])  # two rows of a table exchanged would show
    assert differing("deit_s16", found["deit_ti16"])


def test_entries_said_to_be_timms_are_compared_with_timm() -> None:
    compared = {registry.resolve(tag).name for tag in drift.plain_tags()}
    said = {name for name in registry.list_pretrained() if from_timm(registry.weights_entry(name))}
    assert len(said) > 400
    assert said <= compared


# --- what is said to be verified -------------------------------------------------------------------------------------


def test_every_layout_has_a_row(written: dict[str, str]) -> None:
    overview, _, rest = written["docs/layouts.md"].partition("## What was compared")
    runs, _, holds = rest.partition("## What each holds")
    for name in LAYOUTS:
        assert f"\n| `{name}` |" in overview
        assert f"\n| `{name}` |" in runs
        assert f"`{name}`" in holds


def test_everything_is_proved_by_a_test() -> None:
    assert wrong_proofs() == []


@pytest.mark.parametrize("subject", known())
def test_what_no_test_proves_is_found_and_shown(subject: str) -> None:
    """The control: the marks of one layout, policy or promise taken away."""
    name = known()[subject][-1]
    rest = [proof for proof in collect() if (proof.subject, proof.name) != (subject, name)]
    pages = {"layout": "docs/layouts.md", "promise": "docs/sources.md", "guarantee": "docs/security.md"}
    page = pages.get(subject, "docs/resampling.md")
    text = layouts_page(rest) if subject == "layout" else with_sections(Path(page), rest)
    shown = re.search(rf"^.*{re.escape(name)}.*\*\*no test\*\*.*$", text, re.MULTILINE)
    assert shown, name
    assert text != (ROOT / page).read_text(encoding="utf-8")


def marked(folder: Path, mark: str) -> Path:
    (folder / "test_one.py").write_text(f"NAMES = ('vitzoo', 'timm')\n\n\n{mark}\ndef test_it() -> None: ...\n")
    return folder


def test_a_mark_is_read_without_running_the_test(tmp_path: Path) -> None:
    marked(tmp_path, "@pytest.mark.proves(layout=(*NAMES, 'dino'), against='all ' 'of it', tolerance='1e-5')")
    proof = Proof("layout", "vitzoo", "all of it", "1e-5", "test_one.py", "test_it")
    assert collect(tmp_path) == tuple(proof._replace(name=name) for name in ("vitzoo", "timm", "dino"))
    unproved = wrong_proofs(tmp_path, {"layout": ("vitzoo", "timm", "dino", "mae")})
    assert unproved == ["no test proves layout 'mae'; mark one with pytest.mark.proves(layout=...)"]
    wrong = wrong_proofs(tmp_path, {"layout": ("vitzoo", "timm")})
    assert wrong == ["tests/test_one.py: test_it proves layout 'dino', which there is not"]


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("@pytest.mark.proves(layout='timm')", "expected one of layout, .*then against"),
        ("@pytest.mark.proves(layout='timm', policy='timm', against='x')", "expected one of layout"),
        ("@pytest.mark.proves('timm', against='x')", "expected one of layout"),
        ("@pytest.mark.proves(layout='timm', against='x', tolerence='1')", "expected one of layout"),
        ("@pytest.mark.proves(layout=list(LAYOUTS), against='x')", "write the value out.*list"),
        ("pytestmark = pytest.mark.proves(layout='timm', against='x')\n", "stands elsewhere than on a test"),
    ],
)
def test_a_mark_that_says_nothing_is_an_error(mark: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WrongMark, match=rf"tests/test_one.py.*{message}"):
        collect(marked(tmp_path, mark))
    assert len(wrong_proofs(tmp_path)) == 1


def test_versions_are_not_above_those_installed() -> None:
    """A page written for a newer version than the tests ran with would claim too much."""
    from importlib.metadata import version

    for package, stated in VERSIONS.items():
        installed = version({"open_clip": "open_clip_torch"}.get(package, package))
        assert _numbers(installed) >= _numbers(stated), package


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


@pytest.mark.parametrize("layout", ["timm", "hf_vit", "torchvision", "dino"])
def test_files_beside_the_weights_are_those_that_are_written(layout: str, tmp_path: Path) -> None:
    path = vitzoo.save(ViT(SPEC), tmp_path / "model", layout=layout)
    found = {file.name for file in path.iterdir()} - {"model.safetensors"} if path.is_dir() else set()
    assert found == set(beside(LAYOUTS[layout]))
    assert path.is_dir() or path.suffix == LAYOUTS[layout].suffix


# --- the hand-written page -------------------------------------------------------------------------------------------


def test_snippets_of_the_converting_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    snippets = re.findall(r"```python\n(.*?)```", (DOCS / "converting.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) >= 10
    scope: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, "docs/converting.md", "exec"), scope)
    assert not (tmp_path / "out" / "never").exists()
