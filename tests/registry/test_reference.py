"""What a user types is read in one place: every spelling, what goes before what, and one normal form."""

import warnings
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vitzoo
from vitzoo import registry
from vitzoo.errors import RegistryError, SpecError, VitzooError, WeightsError
from vitzoo.registry import reference
from vitzoo.registry.reference import (
    Address,
    File,
    Name,
    NameBeforeFile,
    Repository,
    Respelled,
    at,
    named,
    parse,
    public,
    repository_of,
)
from vitzoo.spec import HubSource, UrlSource

TIMM = "timm/vit_base_patch16_224.augreg_in21k"
WEIGHTS = "vit_b16.augreg_in21k"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which nothing was said yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reference, "_said", set())
    return tmp_path


WHOLE = "0123456789abcdef" * 4


def on_hub(repo: str, file: str, revision: str | None = None) -> Address:
    return Address(HubSource(repo=repo, file=file, revision=revision, layout="", sha256=None))


def on_web(url: str, sha256: str | None = None) -> Address:
    return Address(UrlSource(kind="url", url=url, layout="", sha256=sha256))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("vit_b16", Name("vit_b16")),
        (WEIGHTS, Name(WEIGHTS)),
        (TIMM, Name(WEIGHTS)),
        ("vit_base_patch16_224.augreg_in21k", Name(WEIGHTS)),
        ("vit_b_16", Name("vit_b16.tv_in1k_v1")),
        ("google/vit-base-patch16-224", Name("vit_b16.hf_google_in21k_ft_in1k")),
        ("beit3_base_patch16_224.pt", Name("beit3_b16.pt")),
        ("beit3_b16.pt", Name("beit3_b16.pt")),
        (f"hf-hub:{TIMM}", Name(WEIGHTS, TIMM)),
        (f"hf_hub:{TIMM}", Name(WEIGHTS, TIMM)),
        (f"hf://{TIMM}", Name(WEIGHTS, TIMM)),
        (f"hf://{TIMM}@main", Name(WEIGHTS, TIMM, "main")),
        (f"{TIMM}@refs/pr/1", Name(WEIGHTS, TIMM, "refs/pr/1")),
        (f"{WEIGHTS}@main", Name(WEIGHTS, WEIGHTS, "main")),
        ("hf-hub:vit_b16", Name("vit_b16", "vit_b16")),
        ("org/repo", Repository("org/repo")),
        ("org/repo@v1", Repository("org/repo", "v1")),
        ("hf-hub:org/repo@v1", Repository("org/repo", "v1")),
        ("hf_hub:org/repo", Repository("org/repo")),
        ("hf://org/repo@v1", Repository("org/repo", "v1")),
        ("hf://org/repo/a/b.pth@v1", on_hub("org/repo", "a/b.pth", "v1")),
        ("hf://org/repo/b.pth", on_hub("org/repo", "b.pth")),
        ("https://host/b.pth", on_web("https://host/b.pth")),
        ("HTTPS://host/b.pth", on_web("https://host/b.pth")),
        (f"http://host:80/b?c=d#sha256={WHOLE}", on_web("http://host:80/b?c=d", WHOLE)),
        ("./vit_b16", File(Path("vit_b16"))),
        ("./hf-hub:org/nat", File(Path("hf-hub:org/nat"))),
        ("../vit_b16", File(Path("../vit_b16"))),
        ("/vit_b16", File(Path("/vit_b16"))),
        ("~/vit_b16", File(Path.home() / "vit_b16")),
        (".", File(Path())),
        ("out.pt", File(Path("out.pt"))),
        ("vit_b16.safetensors", File(Path("vit_b16.safetensors"))),
        ("some/where/else", File(Path("some/where/else"))),
        (Path("vit_b16"), File(Path("vit_b16"))),
        (Path("hf-hub:org/repo"), File(Path("hf-hub:org/repo"))),
    ],
    ids=str,
)
def test_spellings(typed: Any, expected: object) -> None:
    found = parse(typed)
    assert found == expected
    assert parse(found) is found
    if "?" not in str(typed):
        assert parse(str(found)) == expected


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("ViT-B/16", "vit_b16"),
        ("ViT-B-16", "vit_b16"),
        ("VIT_B16", "vit_b16"),
        ("dinov2_vits14", "dinov2_s14"),
        ("dinov2-small", "dinov2_s14.lvd142m"),
        ("dino_vits16", "dino_s16"),
        ("dinov3_vit7b16", "dinov3_7b16"),
        ("vit-base-patch16-224", "vit_b16.hf_google_in21k_ft_in1k"),
        ("deit-small-patch16-224", "deit_s16.hf_fb_in1k"),
    ],
)
def test_other_spellings_of_a_name_are_found_and_said_once(typed: str, name: str) -> None:
    with pytest.warns(Respelled, match=f"'{typed}' is taken for {name}; write "):
        assert parse(typed) == Name(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse(typed) == Name(name)


def test_the_spelling_that_is_advised_is_the_same_and_is_taken_in_silence() -> None:
    with pytest.warns(Respelled) as said:
        found = parse("vit-base-patch16-224")
    advised = str(said[0].message).rpartition(" write ")[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse(advised) == found


def test_a_spelling_of_several_is_an_error_that_lists_them() -> None:
    with pytest.raises(RegistryError, match="could be any of google/vit-base-patch16-224, vit_base_patch16_224; write"):
        parse("VIT-BASE-PATCH16-224")


def test_every_name_and_alias_is_itself() -> None:
    for name in (*registry.list_models(), *registry.list_pretrained(), *registry.aliases()):
        assert parse(name) == Name(registry.resolve(name).name)
        assert parse(f"hf_hub:{name}") == Name(registry.resolve(name).name, name)


@pytest.mark.parametrize("name", ["vit_nano4", "vit_nano4.cifar10", "beit3_base_patch16_224.pt"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_name_goes_before_a_file_and_says_so_once(elsewhere: Path, name: str, kind: str) -> None:
    if kind == "file":
        (elsewhere / name).write_text("no weights")
    else:
        (elsewhere / name).mkdir()
    with pytest.warns(NameBeforeFile, match=f"'{name}' is taken for the model of that name; write ./{name} for the"):
        assert isinstance(parse(name), Name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parse(name)
        assert parse(f"./{name}") == File(Path(name))
        assert parse(Path(name)) == File(Path(name))


def test_a_folder_that_is_named_as_an_address_does_not_go_before_it(elsewhere: Path) -> None:
    (elsewhere / "hf-hub:org" / "nat").mkdir(parents=True)
    assert parse("hf-hub:org/nat") == Repository("org/nat")


@pytest.mark.parametrize("name", ["org/repo", "org/repo@v1", "ViT-B-16", "my run"])
def test_what_is_in_the_working_directory_goes_before_a_repository_and_another_spelling(
    elsewhere: Path, name: str
) -> None:
    (elsewhere / name).mkdir(parents=True)
    assert parse(name) == File(Path(name))


@pytest.mark.parametrize(
    ("typed", "kind", "message"),
    [
        (None, SpecError, "expected a model's name, a file, a repository or an address, found None; `vitzoo list`"),
        ("", SpecError, "found ''; `vitzoo list` shows the names"),
        (" ", SpecError, "found ' '"),
        (7, SpecError, "found 7"),
        (b"vit_b16", SpecError, "found b'vit_b16'"),
        ("vit_b17", RegistryError, "unknown model 'vit_b17'; did you mean vit_b16"),
        ("vit_b16.tag", RegistryError, "unknown tag 'tag' of model 'vit_b16'"),
        ("hf-hub:", WeightsError, "'' is not the name of a repository; expected hf-hub:org/repo"),
        ("hf-hub:a/b/c.pth", WeightsError, "or hf://org/repo/file for one file"),
        ("s3://host/x.pth", WeightsError, "is not a known kind of address"),
        ("https://me:word@host/x.pth?sig=1#md5=1", WeightsError, r"'https://host/x.pth': expected #sha256="),
    ],
)
def test_what_is_none_of_them_is_answered(typed: Any, kind: type[VitzooError], message: str) -> None:
    with pytest.raises(kind, match=message) as said:
        parse(typed)
    assert "word" not in str(said.value)
    with pytest.raises(kind, match=message):
        vitzoo.create(typed)


@pytest.mark.parametrize("make", ["missing.pt", "folder", "device"])
def test_create_says_what_is_wrong_with_a_file(elsewhere: Path, make: str) -> None:
    (elsewhere / "folder").mkdir()
    expected = {
        "missing.pt": "no weights file at missing.pt",
        "folder": "is a folder without weights; expected one of",
        "device": "no weights file at",
    }
    with pytest.raises(WeightsError, match=expected[make]):
        vitzoo.create(f"./{make}")


def test_revisions_are_of_repositories() -> None:
    assert at(parse(WEIGHTS), "main") == Name(WEIGHTS, WEIGHTS, "main")
    assert at(parse("org/repo"), "main") == Repository("org/repo", "main")
    with pytest.raises(SpecError, match="is a file or folder, and only a repository"):
        at(parse("./folder"), "main")
    with pytest.raises(SpecError, match="leave one of the two out"):
        at(parse("org/repo@main"), "next")


def test_names_where_names_are_asked_for() -> None:
    assert named("vit_b16") == Name("vit_b16")
    with pytest.raises(RegistryError, match=r"'\./x\.pt' is not a name in the registry"):
        named("x.pt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://org/repo/a/b@v1", Repository("org/repo", "v1")),
        ("hf://org/repo", Repository("org/repo")),
        ("hf-hub:org/repo@v1", Repository("org/repo", "v1")),
        ("https://host/org/repo", None),
        ("our own pictures", None),
        ("", None),
    ],
)
def test_the_repository_of_an_address(text: str, expected: Repository | None) -> None:
    assert repository_of(text) == expected


def test_secrets_are_in_no_normal_form() -> None:
    typed = f"https://me:word@host:8/a/x.pth?Signature=abc&Policy=d#sha256={WHOLE}"
    found = parse(typed)
    assert isinstance(found, Address)
    assert found.source.url == "https://me:word@host:8/a/x.pth?Signature=abc&Policy=d"  # type: ignore[union-attr]
    assert str(found) == public(typed) == f"https://host:8/a/x.pth#sha256={WHOLE}"
    assert parse(str(found)) == on_web("https://host:8/a/x.pth", WHOLE)


WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
REVISION = st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,8}", fullmatch=True)
REPO = st.builds("{}/{}".format, WORD, WORD)
KNOWN = st.sampled_from([*registry.list_models(), *registry.list_pretrained(), *registry.aliases()])
TYPED = st.one_of(
    KNOWN,
    st.builds("{}{}".format, st.sampled_from(["hf-hub:", "hf_hub:", "hf://", "", "./", "/", "../"]), REPO),
    st.builds("{}{}@{}".format, st.sampled_from(["hf-hub:", "hf_hub:", "hf://", ""]), KNOWN | REPO, WORD),
    st.builds("hf://{}/{}".format, REPO, WORD),
    st.builds("https://{}/{}{}".format, WORD, WORD, st.sampled_from(["", f"#sha256={WHOLE}", "?a=b"])),
    st.text(max_size=12),
)


@given(TYPED)
def test_the_normal_form_is_read_as_the_same(typed: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = parse(typed)
        except VitzooError:
            return
        again = parse(str(found))
    assert str(again) == str(found)
    assert type(again) is type(found)
    if "?" not in typed and "://" not in typed:
        assert again == found


@given(REPO, WORD, REVISION)
def test_records_have_a_text_that_gives_them_back(repo: str, file: str, revision: str | None) -> None:
    for record in (
        Repository(f"{repo}_", revision),
        on_hub(repo, file, revision),
        on_web(f"https://host/{repo}/{file}", "0" * 64),
        File(Path(repo, file)),
        File(Path("/", repo)),
    ):
        assert parse(str(record)) == record


@given(st.text(max_size=20))
def test_a_path_is_a_file_whatever_it_is_called(text: str) -> None:
    assert parse(PurePath(text)) == File(Path(text))
