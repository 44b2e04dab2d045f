"""What is published is what was given, its card says no more than is known, and the hub's readers load it."""

import hashlib
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, constants
from loopback_hub import Closed, Fault, HtmlPage, LoopbackHub, Reset, Status
from peers.huggingface import WRITTEN, model_of
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import SMALLEST

import vitzoo
from vitzoo import ViT, registry
from vitzoo.errors import LayoutError, LicenseError, PublishError, RegistryError, SpecError, WeightsError
from vitzoo.publish import push as publishing
from vitzoo.publish.results import read_results
from vitzoo.registry.licenses import HUB_LICENSES, RestrictedLicense, license_to_publish
from vitzoo.spec import About, Origin, Past, ViTSpec

CAT = Path(__file__).parents[2] / "examples" / "cat.png"
BUNDLED, REPO = "vit_nano4.cifar10", "org/nano"
RESULTS = {
    "dataset": "CIFAR-10",
    "dataset_id": "uoft-cs/cifar10",
    "split": "test",
    "metrics": {"accuracy": 0.779, "ece": 0.0312},
    "method": "5,000 pictures at 32 pixels",
}
LAYOUTS = ("vitzoo", "huggingface", "timm")


@pytest.fixture
def model() -> ViT:
    return vitzoo.create(BUNDLED, pretrained=True)


def tiny(**fields: Any) -> ViT:
    model = vitzoo.create(ViTSpec.parse({**SMALLEST, **fields}, "tiny"), generator=0)
    model.license = "mit"
    return model


def card_of(model: ViT, folder: Path, **options: Any) -> ModelCard:
    folder.mkdir()
    vitzoo.save(model, folder / "model.safetensors")
    return ModelCard.load(vitzoo.write_card(model, folder, **options))


def section(card: ModelCard, title: str) -> str:
    return card.text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def code(card: ModelCard) -> str:
    found = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert found is not None
    return found[1]


def equal(first: ViT, second: ViT) -> bool:
    mine, yours = first.state_dict(), second.state_dict()
    return mine.keys() == yours.keys() and all(torch.equal(mine[key], yours[key]) for key in mine)


# The card


def test_front_matter_is_what_the_hub_reads(model: ViT, tmp_path: Path) -> None:
    data = card_of(model, tmp_path / "out", repo=REPO, results=RESULTS).data
    assert data.to_dict() == {
        "library_name": "vitzoo",
        "license": "apache-2.0",
        "pipeline_tag": "image-classification",
        "tags": ["vision-transformer", "vitzoo"],
        "model-index": [
            {
                "name": "nano",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": "CIFAR-10", "type": "uoft-cs/cifar10", "split": "test"},
                        "metrics": [{"type": "accuracy", "value": 0.779}, {"type": "ece", "value": 0.0312}],
                    }
                ],
            }
        ],
    }


def test_the_text_says_what_the_model_says(model: ViT, tmp_path: Path) -> None:
    card = card_of(model, tmp_path / "out", repo=REPO, results=RESULTS)
    assert "0.81 million parameters" in card.text
    assert "10 classes: airplane, automobile, bird" in card.text
    rows = dict(re.findall(r"\| `(\w+)` \| (.+) \|", section(card, "Architecture")))
    assert rows["img_size"] == "32x32"
    assert (rows["depth"], rows["class_token"], rows["pool"]) == ("6", "no", "avg")
    assert {name for name in rows if getattr(model.spec, name) != ViTSpec.model_fields[name].default} >= set(rows) - {
        "in_chans"
    }
    assert "shorter side to 32, bicubic" in section(card, "Preprocessing")
    assert "| accuracy | 0.779 |" in section(card, "Results")
    assert "5,000 pictures at 32 pixels" in section(card, "Results")
    assert "started from: `vit_nano4.cifar10`, trained by vitzoo on CIFAR-10" in section(card, "Weights")
    assert section(card, "Licence").strip() == "`apache-2.0`."


def test_another_model_has_another_card(model: ViT, tmp_path: Path) -> None:
    """The control of the two above: each field of the card follows the model."""
    changed = vitzoo.create(BUNDLED, pretrained=True, img_size=48, num_classes=2)
    changed.license, changed.labels = "mit", ("a|b", "c")
    first, second = (card_of(one, tmp_path / str(number)) for number, one in enumerate((model, changed)))
    assert first.data.license != second.data.license
    for title in ("Architecture", "Preprocessing", "Weights", "Licence"):
        assert section(first, title) != section(second, title), title
    assert "2 classes: a|b, c." in second.text
    assert "`pos_embed.grid` | resampled | [8, 8] to [12, 12], timm" in section(second, "Weights")
    assert "`head.fc.weight` | re-initialised | [2, 128]" in section(second, "Weights")


def test_nothing_is_claimed_that_is_not_known(tmp_path: Path) -> None:
    card = card_of(tiny(), tmp_path / "out")
    assert "started from: not recorded" in card.text
    assert "## Results" not in card.text
    assert not {"base_model", "model-index"} & card.data.to_dict().keys()
    assert "classes:" not in card.text
    for fields, task in (
        ({}, "image-classification"),
        ({"num_classes": 0}, "image-feature-extraction"),
        ({"head_bias": False}, "image-classification"),
        ({"head": "projection", "out_dim": 5, "num_classes": 0}, "image-feature-extraction"),
    ):
        assert card_of(tiny(**fields), tmp_path / str(fields)).data.pipeline_tag == task


@pytest.mark.parametrize(
    ("origin", "base", "told"),
    [
        ("vit_b16.augreg_in21k", "timm/vit_base_patch16_224.augreg_in21k", "`vit_b16.augreg_in21k`, "),
        (f"{BUNDLED} from bundled:x.safetensors sha256:00ff", None, "- its sha256: `00ff`"),
        ("hf://org/other/model.safetensors@0123 sha256:00ff", "org/other", "hf://org/other/model.safetensors@0123"),
        ("hf://org/nano/model.safetensors", None, "hf://org/nano/model.safetensors"),  # itself
        ("vit_b16.augreg_in21k from /mnt/mirror/x.npz", "timm/vit_base_patch16_224.augreg_in21k", "augreg_in21k"),
        (
            f"fine-tuned from {BUNDLED} from /home/x.pth",
            None,
            "fine-tuned from: `vit_nano4.cifar10`, trained by vitzoo",
        ),
        ("fine-tuned from fine-tuned from /home/ann/x", None, "fine-tuned from: not recorded"),
        ("vit_b16 trained from scratch", None, "started from: vit_b16 trained from scratch"),
        ("/home/ann/x.pth sha256:00ff", None, "started from: not recorded"),
        (r"C:\ann\x.pth", None, "started from: not recorded"),
        ("trained from nothing at our own", None, "started from: trained from nothing at our own"),
    ],
)
def test_origins(origin: str, base: str | None, told: str, tmp_path: Path) -> None:
    model = tiny()
    model.about = model.about.replace(**Past.of(origin)._asdict())
    card = card_of(model, tmp_path / "out", repo=REPO)
    assert card.data.base_model == base
    assert told in section(card, "Weights")
    assert not re.search(r"/mnt|/home|C:", card.text)


@pytest.mark.parametrize(
    "text",
    [f"{BUNDLED} from bundled:x.safetensors sha256:00ff", "vit_b16", "our own", f"fine-tuned from {BUNDLED}", ""],
)
def test_an_origin_without_paths_stays_as_it_is(text: str) -> None:
    model = tiny()
    model.about = model.about.replace(**Past.of(text)._asdict())
    assert publishing._public(model.about).past == (text or None)


def test_training_is_told_without_paths(tmp_path: Path) -> None:
    model = tiny()
    start = Origin(address="/home/ann/start.safetensors", sha256="00ff")
    training = {
        "data": "/home/ann/flowers",
        "recipe": {"lr": 0.001, "epochs": 3},
        "start": {"model": "/home/ann/start"},
    }
    model.about = model.about.replace(derived_from=start, training=training)
    path = vitzoo.save(model, tmp_path / "run" / "model.safetensors")
    for layout in ("vitzoo", "huggingface"):
        folder = publishing.prepare(path.parent, tmp_path / layout, REPO, layout=layout)
        told = section(ModelCard.load(folder / "README.md"), "Training")
        assert "On `flowers`" in told
        assert "recipe:\n  lr: 0.001\n  epochs: 3\n" in told
        assert all(b"/home" not in file.read_bytes() for file in folder.iterdir())
    assert b"/home" in path.read_bytes()  # the control
    with safe_open(tmp_path / "vitzoo" / "model.safetensors", "pt") as file:
        about = json.loads(file.metadata()["vitzoo"])
    assert about["about"]["training"] == {"data": "flowers", "recipe": training["recipe"]}


def test_digest_is_that_of_the_file(model: ViT, tmp_path: Path) -> None:
    folder = publishing.prepare(model, tmp_path / "out", REPO)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"dataset": "x", "metrics": {}}, "result 1: metrics"),
        ({"metrics": {"accuracy": 0.5}}, "result 1: dataset"),
        ([RESULTS, {**RESULTS, "spilt": "test"}], "result 2: unknown field 'spilt'; did you mean split?"),
        ({**RESULTS, "metrics": {"accuracy": float("nan")}}, "result 1: metrics.accuracy"),
    ],
)
def test_results_are_checked(results: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        publishing.push(tiny(), REPO, results=results)


def test_an_evaluation_is_a_result(tmp_path: Path) -> None:
    found = {"data": "/home/ann/photos.tar", "split": "validation", "pictures": 5000, "top1": 0.75, "top5": None}
    found |= {"calibration_error": 0.02, "pictures_per_second": 900.0, "classes": [], "mistakes": []}
    card = card_of(tiny(), tmp_path / "out", results=found)
    told = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert told == {"accuracy": 0.75, "calibration_error": 0.02}
    assert "photos.tar, validation" in section(card, "Results")
    assert "5,000 pictures" in section(card, "Results")
    assert "/home" not in card.content


@pytest.mark.parametrize("classes", ["names", "numbers", "none"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_code_on_the_card_runs(
    layout: str, classes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = {"num_classes": 0, **({"pool": "map"} if layout == "huggingface" else {})}  # as SiglipVisionModel pools
    model = vitzoo.create(BUNDLED, pretrained=True, **(bare if classes == "none" else {}))
    if classes != "names":
        model.labels = None
    vitzoo.save(model, tmp_path / "out" / "model.safetensors" if layout == "vitzoo" else tmp_path / "out", layout)
    card = ModelCard.load(vitzoo.write_card(model, tmp_path / "out", layout=layout))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.jpg").write_bytes(CAT.read_bytes())
    capsys.readouterr()
    scope: dict[str, Any] = {}
    exec(code(card), scope)
    if classes == "none":
        assert scope["features"].shape[-1] == 128
    else:
        assert capsys.readouterr().out == {"names": "cat\n", "numbers": "3\n"}[classes]


@pytest.mark.parametrize("name", WRITTEN)
def test_the_code_for_every_class_of_transformers_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(name)
    folder = publishing.prepare(model, tmp_path / "out", REPO, layout="huggingface", license="mit")
    card = ModelCard.load(vitzoo.write_card(model, folder, layout="huggingface", license="mit"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.jpg").write_bytes(CAT.read_bytes())
    scope: dict[str, Any] = {}
    exec(code(card), scope)
    x = vitzoo.preprocess(model)(CAT)[None]
    assert scope["x"].shape == x.shape
    assert (card.data.pipeline_tag == "image-classification") == bool(model.num_classes)
    if "embedding" in scope:
        logits, expected = scope["model"](x).image_embeds, model(x)
        assert "It gives an embedding of 10 numbers" in card.text
    elif "features" not in scope:
        logits, expected = scope["model"](x).logits, model(x)
    else:
        logits, expected = scope["model"](x).last_hidden_state, model.forward_features(x)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_code_for_other_channels_runs(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = vitzoo.create(BUNDLED, pretrained=True, in_chans=5)
    vitzoo.save(model, tmp_path / "out" / "model.safetensors" if layout == "vitzoo" else tmp_path / "out", layout)
    card = ModelCard.load(vitzoo.write_card(model, tmp_path / "out", layout=layout))
    monkeypatch.chdir(tmp_path)
    exec(code(card), {})


# Licences


def test_a_licence_is_required(tmp_path: Path) -> None:
    model = tiny()
    model.license = None
    with pytest.raises(LicenseError, match=r"no licence of these weights is known.*license='apache-2.0'"):
        publishing.prepare(model, tmp_path / "out", REPO)
    assert not (tmp_path / "out").exists()
    folder = publishing.prepare(model, tmp_path / "out", REPO, license="mit")
    assert ModelCard.load(folder / "README.md").data.license == "mit"
    assert vitzoo.create(folder).license == "mit"
    assert model.license is None


def test_a_restricted_licence_is_said_and_stays(tmp_path: Path) -> None:
    model = tiny()
    model.license = "dinov3-license"
    with pytest.raises(LicenseError, match=r"under 'dinov3-license'.*and 'mit' was given"):
        publishing.prepare(model, tmp_path / "no", REPO, license="mit")
    assert license_to_publish(About(license="dinov3-license"), "dinov3-license") == "dinov3-license"
    with pytest.warns(RestrictedLicense, match="published under 'dinov3-license'"):
        folder = publishing.prepare(model, tmp_path / "out", REPO)
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", "dinov3-license")
    assert card.data.license_link.startswith("https://ai.meta.com/")
    assert "restricts what may be done" in section(card, "Licence")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        publishing.prepare(tiny(), tmp_path / "free", REPO)


def test_weights_that_allow_it_may_get_another_licence(model: ViT, tmp_path: Path) -> None:
    folder = publishing.prepare(model, tmp_path / "out", REPO, license="cc-by-4.0")
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == vitzoo.create(folder).license == "cc-by-4.0"
    assert "started from are under `apache-2.0`" in section(card, "Licence")
    assert model.license == "apache-2.0"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("apache2", "apache-2.0"), ("Apache-2.0", "apache-2.0"), ("MIT", "mit"), ("cc-by-nc", "cc-by-nc")],
)
def test_a_misspelt_licence_is_refused(given: str, meant: str) -> None:
    with pytest.raises(LicenseError, match=f"no licence '{given}'; did you mean .*{meant}"):
        license_to_publish(About(), given)
    assert license_to_publish(About(), "acme-research-agreement") == "acme-research-agreement"


def test_licences_of_the_registry_can_be_published() -> None:
    licenses = {registry.weights_entry(name).license for name in registry.list_pretrained()}
    assert {license_to_publish(About(license=license)) for license in licenses} == licenses
    assert licenses - HUB_LICENSES == {"dinov3-license", "nvidia-open-model-license", "sapiens2-license"}


# The folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_folder_holds_the_model(layout: str, model: ViT, tmp_path: Path) -> None:
    folder = publishing.prepare(model, tmp_path / "out", REPO, layout=layout)
    again = vitzoo.create(folder)
    assert equal(again, model)
    assert again.labels == model.labels
    assert not list(tmp_path.glob(".*"))
    beside = {"vitzoo": set(), "timm": {"config.json"}, "huggingface": {"config.json", "preprocessor_config.json"}}
    assert {file.name for file in folder.iterdir()} == {"README.md", "model.safetensors"} | beside[layout]
    libraries = {"vitzoo": "vitzoo", "timm": "timm", "huggingface": "transformers"}
    assert ModelCard.load(folder / "README.md").data.to_dict()["library_name"] == libraries[layout]


@pytest.mark.parametrize(
    ("layout", "address"),
    [
        ("vitzoo", '"hf-hub:org/nano@v2"'),
        ("timm", '"hf-hub:org/nano@v2"'),
        ("huggingface", '"org/nano", revision="v2"'),
    ],
)
def test_the_card_of_a_branch_reads_that_branch(layout: str, address: str, model: ViT, tmp_path: Path) -> None:
    folder = publishing.prepare(model, tmp_path / "out", REPO, layout=layout, revision="v2")
    lines = [line for line in code(ModelCard.load(folder / "README.md")).splitlines() if "org/nano" in line]
    assert lines
    assert all(address in line for line in lines)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_tensors_stays(dtype: torch.dtype, model: ViT, tmp_path: Path) -> None:
    folder = publishing.prepare(model.to(dtype), tmp_path / "out", REPO)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {dtype}


def test_a_folder_that_does_not_give_the_model_back_is_refused(
    model: ViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of reading again: a writer that changes one number of one tensor."""

    def careless(saved: ViT, *arguments: Any, **options: Any) -> Path:
        other = vitzoo.create(BUNDLED, pretrained=True)
        with torch.no_grad():
            other.blocks[3].attn.qkv.bias[5] += 1e-3
        return vitzoo.save(other, *arguments, **options)

    monkeypatch.setattr(publishing, "save", careless)
    with pytest.raises(PublishError, match=r"does not give the model back: blocks.3.attn.qkv.bias;"):
        publishing.prepare(model, tmp_path / "out", REPO)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_one_line(model: ViT, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="'torchvision' cannot be published; expected vitzoo, huggingface, timm"):
        publishing.prepare(model, tmp_path / "out", REPO, layout="torchvision")
    with pytest.raises(LayoutError, match="attention is diff"):
        publishing.prepare(tiny(attention="diff"), tmp_path / "out", REPO, layout="huggingface")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["nano", "a/b/c", "org/na me", "org/-nano", "org/a--b", "", "../nano", "org/"])
def test_names_of_repositories(name: str, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match=f"'{re.escape(name)}' is not the name of a repository"):
        publishing.prepare(tiny(), tmp_path / "out", name)


# Those who are used to it


def test_save_pretrained_and_from_pretrained(model: ViT, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "mine", results=RESULTS)
    assert equal(ViT.from_pretrained(folder), model)
    assert equal(ViT.from_pretrained(str(folder / "model.safetensors")), model)
    assert ModelCard.load(folder / "README.md").data.eval_results[0].metric_value == 0.779
    assert ViT.from_pretrained(folder, num_classes=3).num_classes == 3
    model.license = None
    assert [file.name for file in model.save_pretrained(tmp_path / "unlicensed").iterdir()] == ["model.safetensors"]
    assert equal(ViT.from_pretrained(BUNDLED), model)
    with pytest.raises(SpecError, match="only a repository"):
        ViT.from_pretrained(folder, revision="main")
    with pytest.raises(RegistryError, match="unknown model 'vit_b17'; did you mean"):
        ViT.from_pretrained("vit_b17")


def test_a_card_needs_its_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no model.safetensors; write the model there first"):
        vitzoo.write_card(tiny(), tmp_path)


def test_every_kind_of_field_is_readable(tmp_path: Path) -> None:
    rope = {"kind": "axial", "theta": 100.0, "ref_grid": [2, 2]}
    model = tiny(num_kv_heads=[1, 2], depth=2, rope=rope, layer_scale=1e-5, hidden_dim=32)
    rows = dict(re.findall(r"\| `(\w+)` \| (.+) \|", section(card_of(model, tmp_path / "out"), "Architecture")))
    assert rows["num_kv_heads"] == "1, 2"
    assert rows["rope"] == "kind axial, theta 100.0, pairs neighbours, ref_grid 2x2"
    assert rows["layer_scale"] == "1e-05"


# The hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A hub where ann may write to org/*, and this process's client set up for it, with her token."""
    with LoopbackHub() as hub:
        hub.user("ann", "hf_ann", organizations=("org",))
        hub.user("bob", "hf_bob")
        hub.user("eve", "hf_eve", organizations=("org",), role="read")
        own = {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "ENDPOINT": hub.endpoint}
        for name, value in own.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", "hf_ann")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield hub


WRITER = f"""
import sys
from vitzoo.cli import main
for name, layout in (("native", "vitzoo"), ("timm", "timm"), ("hf", "huggingface")):
    sys.argv = ["vitzoo", "push", {BUNDLED!r}, f"org/{{name}}", "--layout", layout]
    sys.argv += ["--results", "results.json", "--message", "First"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
"""
READER = """
import json, sys
import torch, timm, transformers, vitzoo
x = torch.load("x.pt")
ours = {name: vitzoo.create(f"hf-hub:org/{name}") for name in ("native", "timm", "hf")}
timms = timm.create_model("hf-hub:org/timm", pretrained=True).eval()
theirs = transformers.AutoModelForImageClassification.from_pretrained("org/hf")
logits = {name: model(x) for name, model in ours.items()} | {"their timm": timms(x), "their hf": theirs(x).logits}
torch.save({"logits": logits, "states": {name: model.state_dict() for name, model in ours.items()}}, "out.pt")
"""


@torch.no_grad()
def test_what_is_pushed_is_what_everyone_reads(hub: LoopbackHub, tmp_path: Path) -> None:
    """`vitzoo push` to a hub, then vitzoo, timm and transformers from it, each in a process that knows no other."""
    environment = hub.environment(tmp_path / "home", token="hf_ann")
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    pushed = subprocess.run(
        [sys.executable, "-c", WRITER], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for name, line in zip(("native", "timm", "hf"), pushed.stdout.splitlines(), strict=True):
        assert re.fullmatch(rf"{hub.endpoint}/org/{name}/commit/[0-9a-f]{{40}}", line), pushed.stdout
    model = vitzoo.create(BUNDLED, pretrained=True)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.save(x, tmp_path / "x.pt")
    subprocess.run([sys.executable, "-c", READER], env=environment, cwd=tmp_path, capture_output=True, check=True)
    found = torch.load(tmp_path / "out.pt")
    for name, state in found["states"].items():
        assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items()), name
    for name, logits in found["logits"].items():
        torch.testing.assert_close(logits, model(x), atol=1e-5, rtol=1e-5, msg=name)
        assert not torch.allclose(logits, model(x.flip(3)), atol=1e-3)  # the control
    card = ModelCard(hub.files("org/native")["README.md"].decode())
    assert (card.data.license, card.data.eval_results[0].metric_value) == ("apache-2.0", 0.779)
    assert 'vitzoo.create("hf-hub:org/native")' in code(card)


def test_one_commit_replaces_the_model_and_leaves_the_rest(hub: LoopbackHub, model: ViT) -> None:
    stale = dict.fromkeys(("pytorch_model.bin", "config.json", "model-00001-of-00002.safetensors"), b"old")
    before = hub.add(
        REPO, {**stale, "LICENSE": b"text", "adapter/adapter_model.safetensors": b"kept", "README.md": b"old"}
    )
    address = model.push_to_hub(REPO, commit_message="New weights")
    assert set(hub.files(REPO)) == {"LICENSE", "adapter/adapter_model.safetensors", "README.md", "model.safetensors"}
    assert set(hub.files(REPO, before)) > set(stale)
    assert hub.count("POST", "*/commit/*") == 1
    assert address == f"{hub.endpoint}/{REPO}/commit/{address.rpartition('/')[2]}"
    assert b'hf-hub:org/nano")' in hub.files(REPO)["README.md"]


def test_a_branch_is_made_and_named_on_the_card(hub: LoopbackHub, model: ViT) -> None:
    publishing.push(model, REPO)
    publishing.push(model, REPO, revision="v2", license="mit")
    assert b'hf-hub:org/nano@v2")' in hub.files(REPO, "v2")["README.md"]
    assert b"license: apache-2.0" in hub.files(REPO, "main")["README.md"]
    assert b"license: mit" in hub.files(REPO, "v2")["README.md"]


@pytest.mark.follows(" is there already and is public; make it private in its settings, or name another")
def test_private(hub: LoopbackHub, model: ViT) -> None:
    publishing.push(model, "org/secret", private=True)
    publishing.push(model, "org/secret", private=True)
    publishing.push(model, "org/open")
    hub.clear()
    with pytest.raises(PublishError, match="org/open is there already and is public; make it private"):
        publishing.push(model, "org/open", private=True)
    assert hub.count("POST", "*/commit/*") == 0
    publishing.push(model, "org/another", private=True)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("hf_unknown", "does not accept your token; run `hf auth login`, or set HF_TOKEN"),
        ("hf_bob", "you may not write to org/nano"),
        ("hf_eve", "you may not write to org/nano"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_without_the_right_to_write(there: bool, token: str, message: str, hub: LoopbackHub, model: ViT) -> None:
    if there:
        hub.add(REPO, {"LICENSE": b"text"})
    with pytest.raises(PublishError, match=re.escape(message)) as raised:
        publishing.push(model, REPO, token=token)
    print(raised.value)
    assert token not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert hub.count("POST", "*/commit/*") == 0


def test_nothing_is_asked_without_a_login_or_offline(
    hub: LoopbackHub, model: ViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="publishing org/nano needs a login: run `hf auth login`"):
        publishing.push(model, REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="HF_HUB_OFFLINE is set; unset it, or write the folder alone"):
        publishing.push(model, REPO, token="hf_ann")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("fault", "method", "path", "message"),
    [
        (Reset(), "POST", "/api/repos/create", "cannot be reached"),
        (Reset(), "PUT", "/lfs/*", "cannot be reached"),
        (Closed(0.0), "POST", "*/preupload/*", "did not deliver it"),
        (Status(500), "POST", "*/preupload/*", "answered with status 500"),
        (Status(503), "PUT", "/lfs/*", "answered with status 503"),
        (Status(413), "POST", "*/commit/*", "does not accept org/nano"),
        (Status(412), "POST", "*/commit/*", "somebody else changed org/nano at the same time"),
        (HtmlPage(), "POST", "/api/repos/create", "perhaps a login page"),
    ],
    ids=str,
)
def test_an_interrupted_push_leaves_nothing_and_can_be_repeated(
    fault: Fault, method: str, path: str, message: str, hub: LoopbackHub, model: ViT
) -> None:
    hub.add(REPO, {"LICENSE": b"text"})
    hub.fault(fault, method=method, path=path, times=None)
    with pytest.raises(PublishError, match=re.escape(message)) as raised:
        publishing.push(model, REPO)
    assert "\n" not in str(raised.value)
    assert set(hub.files(REPO)) == {"LICENSE"}
    hub.clear()
    publishing.push(model, REPO)
    assert set(hub.files(REPO)) == {"LICENSE", "README.md", "model.safetensors"}


def test_a_lost_answer_is_not_taken_for_a_lost_commit(hub: LoopbackHub, model: ViT) -> None:
    hub.fault(Closed(0.0), method="POST", path="*/commit/*")
    with pytest.raises(PublishError, match=r"all of it or nothing: look at .*/org/nano, then push again"):
        publishing.push(model, REPO)
    assert {"README.md", "model.safetensors"} < set(hub.files(REPO))
    publishing.push(model, REPO)


def test_a_hub_that_is_not_there(hub: LoopbackHub, model: ViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PublishError, match=r"127.0.0.1:9 cannot be reached .*all of it or nothing"):
        publishing.push(model, REPO)


# The command


def test_dry_run_writes_the_folder_and_prints_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitzoo.cli import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vitzoo", "push", BUNDLED, *map(str, arguments)])
        try:
            main()
            code: Any = 0
        except SystemExit as stop:
            code = stop.code
        return (code or 0, *capsys.readouterr())

    status, out, _ = run(REPO, "--dry-run", tmp_path / "out", "--layout", "timm")
    assert status == 0
    assert out == (tmp_path / "out" / "README.md").read_text()
    (tmp_path / "bad.json").write_text("[1]")
    for arguments, message in (
        ((REPO,), "HF_HUB_OFFLINE is set"),
        ((REPO, "--dry-run", tmp_path / "out"), "is not empty; name a new folder"),
        (("nano", "--dry-run", tmp_path / "new"), "expected org/name"),
        ((REPO, "--license", "apache2", "--dry-run", tmp_path / "new"), "did you mean"),
        ((REPO, "--layout", "google", "--dry-run", tmp_path / "new"), "cannot be published"),
        ((REPO, "--results", tmp_path / "missing.json"), "cannot be read"),
        ((REPO, "--results", tmp_path / "bad.json"), "expected an object"),
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert message in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_snippets_of_the_publishing_page_run(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.user("ann", "hf_ann", organizations=("my-org",))
    page = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(snippets) == 3
    check = "assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))"
    subprocess.run(
        [sys.executable, "-c", "\n".join([*snippets, "import torch", check])],
        env=hub.environment(tmp_path / "home", token="hf_ann"),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert hub.count("POST", "*/commit/*") == 2
    for example in re.findall(r"```json\n(.*?)```", page, re.DOTALL):
        assert read_results(json.loads(example))[0].metrics == {"accuracy": 0.779}
