"""Every error of reading, converting, saving and verifying has a test that does what it says, or a reason not to."""

import pytest
from advice import Mark, Site, marks, said, sites

AGAIN = "the file is damaged: `unreadable` says to fetch it again, which a test of its own does"
OURS = "a mistake in the package's own tables or calls, which no user can make"

WITHOUT: dict[Mark, str] = {
    Mark(" reads formats up to "): "only a later vitzoo reads it, and none is at hand",
    Mark(" of the two are "): "two models of other sizes are not one model, whatever one does",
    Mark("; check its permissions"): "what the operating system refuses, in its words; a test would need another user",
    Mark(" cannot be read: ", "files/read.py"): "what the operating system refuses, in its words",
    Mark(" cannot be read: ", "registry/strict_yaml.py"): "what the reader of YAML says, with the line",
    Mark(" cannot be read: ", "registry/digests.py"): "what the operating system refuses, in its words",
    Mark(" has a tensor whose name has "): "a file that was made to do harm; no program writes such names",
    Mark("; nothing was written"): OURS,
    Mark(" does not have the axes of '"): OURS,
    Mark("' names twice: "): OURS,
    Mark("timm has no config.json for layout '"): OURS,
    Mark(", which is a ResNet; only Vision Transformers are read here"): "a model of another kind",
    Mark("the registry's files are missing beside "): "an installation without its data",
    Mark("expected ", "layouts/border.py"): "what a field should be; `Border.checked` says it with what to do",
    Mark("; install vitzoo again", "registry/label_sets.py"): "an installation without its data",
    Mark("the licence in "): "the licence beside a file: tests/checkpoints/test_credits.py has what is read of it",
    Mark(" cannot make a graph of "): "what an engine's own code fails with, in its words",
    Mark(
        "this model is no graph for pictures of "
    ): "no architecture of the registry is; what torch fails with is said",
    Mark(
        " cannot hold its metadata: "
    ): "words beyond what the end of an archive holds (64 KiB): labels never come near",
    Mark(" was removed while it was read; start again"): "a race: tests/files has it, and nothing is left to read",
}
"""Errors with nothing to do about, by their words; each with the reason."""

MADE_ELSEWHERE = {
    "checkpoints/create.py:_spec_names": ("unknown field '",),
    "checkpoints/identify.py:identify": ("unknown field '",),
    "checkpoints/facts.py:field_value": ("expected null (None in Python), or an object with ",),
    "checkpoints/facts.py:_contradicted": ("; leave ", "mend the configuration beside it, or move it away"),
    "layouts/native.py:described": (),
    "checkpoints/settle.py:_completed": (),
    "checkpoints/settle.py:_question": (
        " can be read in layout ",
        "; what its tensors do not show has to be given: ",
        " the size of the pictures, (height, width) in pixels, that its table of positions is for, ",
    ),
    "checkpoints/verify.py:_telling": (),
    "exporting/write.py:_possible": ("ONNX Runtime has no bfloat16",),
    "files/read.py:_reader": (" cannot be read as ",),
    "layouts/config_rules.py:read": (),
    "layouts/detect.py:detect": (
        "which this layout does ",
        " tensors in none of the known layouts; the nearest is ",
        "the patch kernel '",
        "a model of videos or series",
        "an adapter (LoRA) beside a model",
    ),
    "layouts/huggingface/config.py:model_kind": ("; or move it away and give ",),
    "publish/push.py:_explained": ("run `hf auth login`, or set HF_TOKEN to a token with the role 'write' (",),
    "registry/families.py:checked": (),
    "registry/index.py:_Registry:extended": (),
    "registry/index.py:_read": (),
    "registry/strict_yaml.py:read_yaml": (),
    "spec/base.py:Frozen:parse": ("expected null (None in Python), or an object with ",),
}
"""Errors that only say what comes from elsewhere: words of that, each with a mark; none if that are errors themselves
or another program's."""


def reason(site: Site) -> str | None:
    """Why no test follows an error."""
    if site.kind == "ValueError" and site.where.startswith("files/"):
        return AGAIN
    return next((text for words, text in WITHOUT.items() if words.of(site)), None)


@pytest.mark.parametrize("site", sites(), ids=lambda site: f"{site.where}-{max(site.words, key=len, default='')[:40]}")
def test_what_an_error_says_is_done_by_a_test(site: Site) -> None:
    if site.passes_on:
        assert site.where in MADE_ELSEWHERE, "say which words it passes on"
        assert all(any(words in mark.words for mark in marks()) for words in MADE_ELSEWHERE[site.where])
    else:
        assert reason(site) or any(mark.of(site) for mark in marks()), f"no test follows {site.words}"


@pytest.mark.parametrize("mark", sorted(marks()), ids=lambda mark: mark.words)
def test_a_mark_is_of_one_error(mark: Mark) -> None:
    found = [site for site in sites() if mark.of(site)]
    assert len(found) == 1 or (not found and any(mark.words in text for text in said())), found


def test_a_reason_is_of_an_error_that_is_there_and_that_no_test_follows() -> None:
    for words in WITHOUT:
        found = [site for site in sites() if words.of(site)]
        assert found, words
        assert not any(mark.of(site) for site in found for mark in marks()), words
    assert MADE_ELSEWHERE.keys() <= {site.where for site in sites() if site.passes_on}
