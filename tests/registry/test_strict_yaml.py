"""YAML that an enemy wrote: one RegistryError, soon."""

from pathlib import Path

import pytest

from vitzoo.errors import RegistryError
from vitzoo.registry.strict_yaml import read_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(9))}]\n" for n in range(1, 30)
)


@pytest.mark.proves(guarantee="Bounds come before memory", against="YAML whose aliases stand for gigabytes")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "more than 100,000 values, written out"),
        ("a: &a [*a, *a]", "more than 100,000 values|cannot be read"),
        ("a: " + "[" * 100_000, "cannot be read|line"),
        ("a: " + "[" * 40 + "]" * 40, "more than 30 levels"),
        ("? [a, b]\n: 1", "a key is a name"),
        ("? {a: b}\n: 1", "a key is a name"),
        (f"a: {'9' * 5000}", "is not decimal"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!timestamp x", "line 1|cannot be read"),
        ("a: !!binary '%'", "line 1|cannot be read"),
        ("a: \ud800".encode("utf-8", "surrogatepass").decode("latin1"), "."),
        ("x" * (1 << 21), "it has more than 1,048,576 bytes"),
    ],
)
def test_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="latin1")
    with pytest.raises(RegistryError, match=words) as error:
        read_yaml(path)
    assert len(str(error.value)) < 1000


def test_dates_are_text_and_short_names_for_parts_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("date: 2020-01-02\na: &a {b: 1}\nc: *a\n")
    assert read_yaml(tmp_path / "x.yaml") == {"date": "2020-01-02", "a": {"b": 1}, "c": {"b": 1}}
