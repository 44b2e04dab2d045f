"""From a name, a file or a model at hand to a folder: each kind of recipe, each result, each refusal."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from signatures import representatives
from training import CLASSES, run, write_model, write_pictures

import vitzoo
from vitzoo.errors import DataError, RegistryError, SpecError, TrainingError, VitzooError
from vitzoo.registry.recipes import load_recipe
from vitzoo.sources.fetch import BUNDLED
from vitzoo.train.finetuning import finetune
from vitzoo.train.lora import add_lora, merge, save_adapter

BUNDLED_FILE = BUNDLED / "vit_nano4_cifar10.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


def native(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["vitzoo"])["about"]


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_leaves_a_folder_that_explains_itself(data: Path, start: Path, tmp_path: Path) -> None:
    before = sha256(start)
    file = run(start, data, tmp_path / "out", lr=3e-3, epochs=6)
    assert file == tmp_path / "out" / "model.safetensors"
    assert sha256(start) == before  # its tensors were mapped, and trained elsewhere
    assert {path.name for path in file.parent.iterdir()} >= {
        "model.safetensors",
        "recipe.yaml",
        "metrics.csv",
        "tensorboard",
        "checkpoints",
        "report.md",
        "README.md",
        "curves.png",
        "confusion.png",
    }
    assert not [path for path in file.parent.rglob("*") if "partial" in path.name]
    assert list((file.parent / "tensorboard").glob("events.out.tfevents.*"))
    assert load_recipe(file.parent / "recipe.yaml").lr == 3e-3
    assert [row["epoch"] for row in history(file.parent)] == list("123456")
    assert float(history(file.parent)[-1]["val_top1"]) == 1.0

    model = vitzoo.create(file.parent)
    assert (model.labels, model.num_classes, model.license) == (CLASSES, 3, "apache-2.0")
    assert str(model.origin).startswith("fine-tuned from ")
    picture = vitzoo.preprocess(model)(data / "red" / "0.png").unsqueeze(0)
    assert CLASSES[model(picture).argmax()] == "red"

    training = native(file)["training"]
    assert training["start"]["sha256"] == {start.name: before}
    assert training["recipe"] == json.loads(
        json.dumps(load_recipe(file.parent / "recipe.yaml").model_dump(mode="json"))
    )
    assert training["data"] == str(data)
    assert training["vitzoo"] == vitzoo.__version__


def test_results_go_where_other_files_go(data: Path, start: Path, tmp_path: Path) -> None:
    file = run(start, data, tmp_path / "out", epochs=1)
    vitzoo.convert(file, tmp_path / "hf", "huggingface")
    from transformers import AutoModelForImageClassification

    peer = AutoModelForImageClassification.from_pretrained(tmp_path / "hf").eval()
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(peer(x).logits, vitzoo.create(file)(x), rtol=1e-5, atol=1e-5)
    assert peer.config.id2label == dict(enumerate(CLASSES))


@pytest.mark.parametrize(
    ("recipe", "changed"),
    [
        ("full", {"patch_embed", "cls_token", "pos_embed", "blocks.0", "blocks.1", "norm", "head"}),
        ("last_blocks", {"blocks.1", "norm", "head"}),
        ("linear_probe", {"head"}),
        ("lora", {"blocks.0", "blocks.1", "head"}),
    ],
)
def test_each_recipe_changes_what_it_trains_and_nothing_else(
    recipe: str, changed: set[str], data: Path, start: Path, tmp_path: Path
) -> None:
    changes = {"trainable": "last-1"} if recipe == "last_blocks" else {}
    file = run(start, data, tmp_path / "out", recipe, lr=1e-2, **changes)
    before, after = load_file(start), load_file(file)
    assert before.keys() == after.keys()
    kept = {k for k in before if before[k].shape == after[k].shape and torch.equal(before[k], after[k])}
    found = {".".join(k.split(".")[: 2 if k.startswith("blocks") else 1]) for k in before.keys() - kept}
    assert found == changed
    if recipe == "lora":
        moved = {".".join(k.split(".")[-3:]) for k in before.keys() - kept if k.startswith("blocks")}
        assert moved == {"attn.qkv.weight", "attn.proj.weight"}


def test_the_adapter_on_the_pretrained_weights_is_the_merged_model(data: Path, start: Path, tmp_path: Path) -> None:
    file = run(start, data, tmp_path / "out", "lora", lr=1e-2, lora_rank=2, lora_targets=["qkv", "fc1"])
    merged, base = vitzoo.create(file), vitzoo.create(start, num_classes=3)
    x = torch.randn(4, 3, 16, 16)
    plain = base(x)
    adapted = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").eval()
    torch.testing.assert_close(adapted(x), merged(x), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(plain, merged(x), atol=1e-3)
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (2, str(start))


@pytest.mark.parametrize("name", representatives())
def test_adapters_fit_each_architecture(name: str, tmp_path: Path) -> None:
    """Grouped and differential attention, rotary and relative positions: saved, read by peft, merged."""
    spec = representatives()[name]
    head = "linear" if spec.out_dim is not None else spec.head
    spec = spec.replace(head=head, num_classes=5)
    base, model = vitzoo.create(spec, generator=0).eval(), vitzoo.create(spec, generator=0)
    adapted = add_lora(model, load_recipe("lora", lora_rank=2), name)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in filter(lambda p: p.requires_grad, model.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_adapter(adapted, tmp_path / "adapter")
    merged = merge(adapted).eval()
    x = torch.randn(2, spec.in_chans, *spec.img_size)
    plain = base(x)
    again = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(again(x), merged(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, merged(x), atol=1e-3)


def test_another_size_and_other_channels(data: Path, tmp_path: Path) -> None:
    before = sha256(BUNDLED_FILE)
    file = run("vit_nano4.cifar10", data, tmp_path / "out", img_size=48, in_chans=1, epochs=1, warmup_epochs=0)
    model = vitzoo.create(file)
    assert (model.spec.img_size, model.spec.in_chans) == ((48, 48), 1)
    assert model(torch.randn(1, 1, 48, 48)).shape == (1, 3)
    assert sha256(BUNDLED_FILE) == before
    assert native(file)["training"]["start"] == {
        "model": "vit_nano4.cifar10",
        "origin": vitzoo.create("vit_nano4.cifar10", pretrained=True).origin,
        "sha256": {BUNDLED_FILE.name: before},
    }


@pytest.mark.parametrize("in_chans", [4, 12])
def test_arrays_of_many_channels_and_a_model_that_has_them_already(start: Path, tmp_path: Path, in_chans: int) -> None:
    drawn = np.random.default_rng(0)
    for number, name in enumerate("ab"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(8):
            pixels = drawn.integers(0, 100, (16, 16, in_chans), dtype=np.uint8)
            pixels[..., number] += 150
            np.save(tmp_path / "data" / name / f"{i}.npy", pixels)
    first = run(start, tmp_path / "data", tmp_path / "first", in_chans=in_chans, lr=1e-2, epochs=4)
    again = run(first, tmp_path / "data", tmp_path / "again", "linear_probe", batch_size=4)
    assert vitzoo.create(again).spec.in_chans == in_chans
    assert vitzoo.evaluate(first, tmp_path / "data").top1 == 1.0
    if in_chans == 4:  # read without its alpha, which is said
        return
    with pytest.raises(DataError, match=r"no picture of class 'a' can be read; the first: .*0\.npy"):
        run(start, tmp_path / "data", tmp_path / "other")


@pytest.mark.parametrize("recipe", ["full", "linear_probe", "lora"])
@pytest.mark.parametrize(
    "fields", [{"num_classes": 0}, {"dist_token": True, "pool": "cls_dist", "head": "distilled"}], ids=str
)
def test_no_classifier_and_two_of_them(fields: dict[str, Any], recipe: str, data: Path, tmp_path: Path) -> None:
    file = run(write_model(tmp_path / "m.safetensors", **fields), data, tmp_path / "out", recipe, epochs=1, lr=1e-2)
    heads = {key: value for key, value in load_file(file).items() if key.startswith("head.")}
    assert len(heads) == (4 if "head" in fields else 2)
    assert all(value.any() for value in heads.values())


def test_a_model_at_hand_is_copied(data: Path, start: Path, tmp_path: Path) -> None:
    model = vitzoo.create(start)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    file = run(model, data, tmp_path / "hand")
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    assert model.num_classes == 7
    torch.testing.assert_close(load_file(file), load_file(run(start, data, tmp_path / "file")), rtol=0, atol=0)


def test_from_scratch_and_the_bundled_models_own_recipe(data: Path, tmp_path: Path) -> None:
    file = run("vit_nano4.cifar10", data, tmp_path / "out", "vit_nano4_cifar10")
    model = vitzoo.create(file)
    assert model.preprocessing.mean == (0.4914, 0.4822, 0.4465)
    assert (model.origin, model.license) == ("vit_nano4.cifar10 trained from scratch", None)
    assert native(file)["training"]["start"] is None
    with pytest.raises(TrainingError, match=r"starts from random weights, but .* has weights; name a model"):
        run(file, data, tmp_path / "again", "vit_nano4_cifar10")


def test_the_classifier_of_the_same_classes_is_kept(
    data: Path, start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In whatever order it has them; how good it was before is said, and a new one can be asked for."""
    first = run(start, data, tmp_path / "first", lr=3e-3, epochs=6)
    assert "the classifier is new, for 3 classes" in capfd.readouterr().err
    turned = vitzoo.create(first)
    with torch.no_grad():
        for parameter in turned.head.fc.parameters():
            parameter.copy_(parameter.flip(0))
    turned.labels = CLASSES[::-1]
    still = {"lr": 1e-9, "min_lr": 0.0}
    for model, name in ((first, "kept"), (turned, "turned")):
        kept = run(model, data, tmp_path / name, **still)
        assert float(history(kept.parent)[0]["val_loss"]) == pytest.approx(
            float(history(first.parent)[-1]["val_loss"]), 1e-3
        )
        said = capfd.readouterr().err
        assert "classifier of the weights is kept, since the data has its 3 classes" in said
        assert "before training 100.00% of 6 val pictures are right" in said
    assert vitzoo.create(kept).labels == CLASSES[::-1]
    assert vitzoo.evaluate(kept, data).top1 == 1.0
    fresh = run(first, data, tmp_path / "fresh", keep_head=False, **still)
    assert float(history(fresh.parent)[0]["val_loss"]) == pytest.approx(torch.tensor(3.0).log().item(), 1e-3)
    with pytest.raises(TrainingError, match=r"keep_head needs the classes of .* expected none, found blue, green, red"):
        run(start, data, tmp_path / "other", keep_head=True)


@pytest.mark.parametrize("keep", ["auto", "last"])
def test_a_run_that_ends_early_says_whose_weights_it_has(
    keep: str, data: Path, start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is learnt, so that the first epoch is the best: it is the result unless the last is asked for."""
    file = run(start, data, tmp_path / "out", keep=keep, early_stopping=2, epochs=6, lr=1e-9, min_lr=0.0)
    said = capfd.readouterr().err
    assert "stopped after epoch 3: none of the last 2 was better" in said
    assert ("epoch 1 are kept\n" if keep == "auto" else "epoch 3 are kept; epoch 1 was the best: set keep=best") in said
    kept = torch.load(file.parent / f"checkpoints/{'best' if keep == 'auto' else 'last'}.ckpt", weights_only=True)
    assert kept["epoch"] == (0 if keep == "auto" else 2)
    torch.testing.assert_close(load_file(file)["head.fc.weight"], kept["state_dict"]["model.head.fc.weight"])


def test_one_epoch_of_the_default_recipe(
    data: Path, start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = finetune(start, data, tmp_path / "out", epochs=1, batch_size=6, num_workers=0, accelerator="cpu")
    assert "warmup_epochs is 0.05: the recipe's 1 of 20 epochs leave nothing of 1" in capfd.readouterr().err
    assert load_recipe(file.parent / "recipe.yaml").warmup_epochs == 0.05


def test_an_average_of_few_steps_follows_the_run(
    data: Path, start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without its warm-up it is still at the start, which is said before the first step."""
    losses = {}
    for name, changes in {"raw": {}, "average": {"ema_decay": 0.999}, "lagging": {"ema_warmup": False}}.items():
        changes = {"ema_decay": 0.999, **changes} if name == "lagging" else changes
        folder = run(start, data, tmp_path / name, lr=3e-3, epochs=6, **changes).parent
        losses[name] = float(history(folder)[-1]["val_loss"])
        assert ("average of the weights lags: after 24 steps" in capfd.readouterr().err) == (name == "lagging")
    chance = torch.tensor(3.0).log().item()
    assert losses["average"] < (chance + losses["raw"]) / 2 < losses["lagging"]


def test_the_lines_of_a_relative_folder_work_from_where_the_user_stands(
    data: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(start, data, "runs/mine", epochs=1, warmup_epochs=0)
    for page in ("report.md", "README.md"):
        line = re.search(r'create\("(.*)"\)', (tmp_path / "runs" / "mine" / page).read_text())
        assert line is not None
        assert line[1] == "runs/mine"
        assert vitzoo.create(line[1]).labels == CLASSES


def test_the_best_epoch_can_be_kept_and_a_run_can_end_early(data: Path, start: Path, tmp_path: Path) -> None:
    """A learning rate that spoils the model after its first epochs."""
    worse = {"lr": 3e-3, "epochs": 8, "schedule": "constant", "min_lr": 0.0, "clip_norm": None, "optimizer": "sgd"}
    file = run(start, data, tmp_path / "best", keep="best", early_stopping=2, **{**worse, "lr": 0.3})
    rows = [float(row["val_top1"]) for row in history(file.parent)]
    best = rows.index(max(rows))
    assert len(rows) == min(best + 3, 8)
    kept = torch.load(file.parent / "checkpoints/best.ckpt", weights_only=True)
    assert kept["epoch"] == best
    torch.testing.assert_close(load_file(file)["head.fc.weight"], kept["state_dict"]["model.head.fc.weight"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "vit_b17"}, RegistryError, "did you mean"),
        ({"model": "no/such.safetensors"}, VitzooError, "no/such.safetensors"),
        ({"recipe": "fulll"}, RegistryError, r"unknown recipe 'fulll'"),
        ({"learning_rate": 1}, SpecError, "unknown field 'learning_rate'"),
        ({"img_size": 17}, SpecError, "img_size 17x17 is not divisible by patch_size 8x8"),
        ({"batch_size": 25}, TrainingError, "batch_size 25 is more than the 24 training pictures; lower it"),
        ({"trainable": "last-3"}, TrainingError, "names 3 blocks, the model has 2"),
        ({"optimizer": "adamwx"}, TrainingError, "unknown optimizer 'adamwx'"),
        (
            {"recipe": "lora", "lora_targets": ["query"]},
            TrainingError,
            "lora_targets query are not there; the blocks have",
        ),
        ({"devices": 2, "accelerator": "gpu"}, TrainingError, "devices or strategy: No supported gpu backend found"),
        ({"precision": "16-mixed"}, TrainingError, "16-mixed is not for this device; give precision bf16-mixed"),
        ({"optimizer": "bnbadam8bit"}, TrainingError, "optimizer bnbadam8bit with .*: .*"),
        ({"checkpoint_steps": 0}, TrainingError, "checkpoint_steps is 0; expected 1 or more"),
        ({"strategy": "fsdp", "devices": "auto"}, TrainingError, "fsdp needs the number of devices, found 'auto'"),
        ({"strategy": "fsdp", "ema_decay": 0.9}, TrainingError, "strategy fsdp does not support ema_decay or lora"),
    ],
)
def test_a_run_that_cannot_start(
    changes: dict[str, Any], error: type[VitzooError], message: str, data: Path, start: Path, tmp_path: Path
) -> None:
    changes = dict(changes)
    model, recipe = changes.pop("model", start), changes.pop("recipe", "full")
    with pytest.raises(error, match=message):
        run(model, data, tmp_path / "out", recipe, **changes)
    assert not (tmp_path / "out").exists()


def test_a_model_with_a_class_for_each_token_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="pool 'none': a class for each token"):
        run(write_model(tmp_path / "m.safetensors", pool="none"), data, tmp_path / "out")


def test_an_output_that_is_taken(data: Path, start: Path, tmp_path: Path) -> None:
    run(start, data, tmp_path / "out", epochs=1, warmup_epochs=0)
    with pytest.raises(TrainingError, match="out exists and is not empty; name a new folder, or resume the run in it"):
        run(start, data, tmp_path / "out")
    other = load_recipe("full", about="for something else")  # which decides nothing
    with pytest.raises(TrainingError, match=r"another recipe: lr 0.0001 \(now 0.5\); give the same"):
        run(start, data, tmp_path / "out", other, epochs=1, warmup_epochs=0, lr=0.5, resume=True)
    with pytest.raises(
        TrainingError, match=r"cannot go on: model was .*tiny.safetensors and is vit_nano4.cifar10; .*; give"
    ):
        run("vit_nano4.cifar10", data, tmp_path / "out", epochs=1, warmup_epochs=0, resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file exists and is not empty"):
        run(start, data, tmp_path / "file")


@pytest.mark.parametrize("recipe", ["full", "linear_probe"])
def test_as_few_parts_as_fit_change_nothing(recipe: str, data: Path, start: Path, tmp_path: Path) -> None:
    found = run(start, data, tmp_path / "auto", recipe, accumulate="auto")
    expected = run(start, data, tmp_path / "one", recipe)
    torch.testing.assert_close(load_file(found), load_file(expected), rtol=0, atol=0)


def test_the_command_line(data: Path, start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import sys

    from vitzoo.cli import main

    out = tmp_path / "out"
    command = f"vitzoo finetune -m {start} -d {data} -o {out} -r full --epochs 1 -b 6 --lr 1e-3 --accelerator cpu"
    extra = ["--set", "warmup_epochs=0", "--set", "val_fraction=0.2", "--num-workers", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*command.split(), *extra])
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 0
        shown = capfd.readouterr()
        assert str(out / "model.safetensors") in shown.out
        assert str(out / "report.md") in shown.out
        assert shown.out.startswith("top-1 ")
        read, head, epoch = shown.err.splitlines()
        assert read.endswith(": train 24 (blue 8, green 8, red 8), val 6 (blue 2, green 2, red 2)")
        assert head == "the classifier is new, for 3 classes"
        assert epoch.startswith("epoch 1/1  loss")
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 2
        assert capfd.readouterr().err.splitlines()[-1].startswith(f"vitzoo: {out} exists and is not empty")


def test_on_a_terminal_the_bar_keeps_off_stdout(
    data: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run(start, data, tmp_path / "out")
    shown = capsys.readouterr()
    assert shown.out == ""
    for text in ("epoch 1/2:", "epoch 2/2:", "pictures/s=", "0:00:00 left"):
        assert text in shown.err


def test_data_is_refused_before_anything_is_written(start: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only one class"):
        run(start, write_pictures(tmp_path / "one", classes=["red"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_that_stand_twice_are_said(start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("train", 10), ("val", 2)):
        write_pictures(tmp_path / "data" / part, count)
    first = tmp_path / "data" / "train" / CLASSES[0] / "9.png"
    for number, other in enumerate((tmp_path / "data" / "val").rglob("*.png")):  # not those of the training pictures
        Image.new("RGB", (20, 24), (number, 9, 9)).save(other)
    run(start, tmp_path / "data", tmp_path / "apart", epochs=1)
    assert "same bytes" not in capsys.readouterr().err
    shutil.copy(first, tmp_path / "data" / "val" / CLASSES[0] / "0.png")
    shutil.copy(first, tmp_path / "data" / "train" / CLASSES[1] / "9.png")
    run(start, tmp_path / "data", tmp_path / "out", epochs=1)
    said = capsys.readouterr().err
    assert f"1 of {2 * len(CLASSES)} val pictures are among the training pictures, with the same bytes" in said
    assert "1 training pictures are there under two classes, with the same bytes" in said
