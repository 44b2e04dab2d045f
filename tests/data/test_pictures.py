"""Pictures for a run: where they may come from, what is refused, how they are split, and what each epoch shows."""

import pickle
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny import SMALLEST

import vitzoo
from vitzoo.data.open import open_splits
from vitzoo.data.pictures import Pictures
from vitzoo.data.readable import readable
from vitzoo.data.split import few, stratified
from vitzoo.errors import DataError, SpecError
from vitzoo.registry.recipes import Recipe
from vitzoo.sources.cache import cache_folder
from vitzoo.train.augment import training_transform
from vitzoo.train.datamodule import EpochSampler, PictureData

SPEC = vitzoo.ViTSpec(**SMALLEST)
Pixels = np.ndarray


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def picture(number: int = 0, size: tuple[int, int] = (20, 24)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def fill(folder: Path, count: int = 4, suffix: str = ".png", first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        picture(i).save(folder / f"{i}{suffix}")
    return folder


def encoded(number: int = 0) -> bytes:
    data = BytesIO()
    picture(number).save(data, "PNG")
    return data.getvalue()


def pack(path: Path, members: dict[str, bytes | None]) -> Path:
    """A tar file; a name without bytes is a folder."""
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            info.size = len(data or b"")
            archive.addfile(info, BytesIO(data or b""))
    return path


def recipe(**fields: object) -> Recipe:
    return Recipe.parse({"lr": 1e-3, "epochs": 2, "batch_size": 4, **fields}, "recipe")


def opened(path: Path | str, **fields: object) -> PictureData:
    options = {name: fields.pop(name) for name in ("val", "strict") if name in fields}
    model = vitzoo.create(SPEC, in_chans=fields.get("in_chans", 3))
    return PictureData(path, recipe(**fields), num_workers=0, **options).adapt_to(model)


def described(pictures: Pictures) -> dict[str, str]:
    """From the name of each picture to its class."""
    return {name: pictures.classes[target] for name, target in zip(pictures.names, pictures.targets, strict=True)}


# Where they come from.


def test_the_folder_a_picture_is_in_is_its_class(root: Path) -> None:
    fill(root / "cat", 2), fill(root / "dog", 1, ".webp")
    splits = open_splits(root)

    assert list(splits) == ["all"]
    assert described(splits["all"]) == {"cat/0.png": "cat", "cat/1.png": "cat", "dog/0.webp": "dog"}
    assert splits["all"].counts == (2, 1)
    assert np.array_equal(splits["all"].load(1), picture(1))


def test_classes_are_in_the_order_of_timm(root: Path) -> None:
    for name in ("class10", "class9", "Class1"):
        fill(root / name, 1)
    from timm.data.readers import create_reader

    for number in (10, 9, 100):
        (root / "class9" / f"X{number}.png").write_bytes((root / "class9" / "0.png").read_bytes())
    pictures, timms = open_splits(root)["all"], create_reader("", str(root))
    assert pictures.classes == tuple(timms.class_to_idx)
    assert list(pictures.names) == timms.filenames()
    assert pictures.targets.tolist() == [timms[i][1] for i in range(len(pictures))]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("training", "validation", "testing"), ("Train", "Valid")])
def test_split_folders(root: Path, names: tuple[str, ...]) -> None:
    for count, split in enumerate(names, 1):
        fill(root / split / "a", count), fill(root / split / "b", count)
    splits = open_splits(root)

    expected = {"train": 2, "val": 4, "test": 6}
    assert {name: len(pictures) for name, pictures in splits.items()} == dict(list(expected.items())[: len(names)])
    assert splits["val"].classes == ("a", "b")


def test_a_tar_file_is_read_as_the_folder_that_it_was_made_of(root: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        fill(root / split / "a", 3), fill(root / split / "b", 2)
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(root, "set")
    from_folder, from_tar = open_splits(root), open_splits(tmp_path / "set.tar")

    assert from_folder.keys() == from_tar.keys()
    for split, pictures in from_folder.items():
        archived = from_tar[split]
        assert [f"set/{name}" for name in pictures.names] == archived.names
        assert pictures.targets.tolist() == archived.targets.tolist()
        assert all(np.array_equal(pictures.load(i), archived.load(i)) for i in range(len(pictures)))


def test_workers_do_not_share_an_open_archive(root: Path) -> None:
    """What is kept open goes through no pickle, and is read from the wrong place after a fork."""
    members = {f"{name}/{i}.png": encoded(i + 50 * place) for place, name in enumerate("ab") for i in range(40)}
    data = opened(pack(root / "set.tar", members), hflip=0.0, crop_scale=None, val_fraction=0.5)
    one = data.train_pictures.load(0)  # in this process, before others are forked
    assert pickle.loads(pickle.dumps(data.train_pictures)).load(0) == one
    data.adapt_to(vitzoo.create(SPEC))
    alone = [x for x, _ in data.val_dataloader()]
    data.num_workers = 2
    together = [x for x, _ in data.val_dataloader()]

    assert torch.equal(torch.cat(alone), torch.cat(together))


def test_a_hugging_face_dataset(root: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"img": datasets.Image(), "fine": datasets.ClassLabel(names=["owl", "ape"]), "coarse": datasets.Value("int64")}
    )
    for split, count in (("train", 6), ("validation", 4)):
        rows = {
            "img": [picture(i) for i in range(count)],
            "fine": [i % 2 for i in range(count)],
            "coarse": [0] * count,
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            root / "data" / f"{split}-00000-of-00001.parquet"
        )
    settings = "?input_key=img&target_key="
    splits = open_splits(f"hfds/{root}{settings}fine")

    assert {name: pictures.counts for name, pictures in splits.items()} == {"train": (3, 3), "val": (2, 2)}
    assert splits["val"].classes == ("owl", "ape")
    assert np.array_equal(splits["val"].load(3), picture(3))
    assert open_splits(f"hfds/{root}{settings}coarse")["val"].classes == ("0",)  # integers are names, too
    found = open_splits(f"hfds/{root}")["val"]
    assert (found.classes, found.understood) == (("owl", "ape"), "by column fine, pictures img")
    with pytest.raises(DataError, match=r"there is no column grey; the columns are img, fine, coarse"):
        open_splits(f"hfds/{root}{settings}grey")
    with pytest.raises(DataError, match=r"cannot be read: .*colour"):
        open_splits(f"hfds/{root}{settings}fine&colour=red")
    with pytest.raises(DataError, match="cannot be read: bad query field"):
        open_splits(f"hfds/{root}?fine")
    with pytest.raises(DataError, match="hfds/no/such: cannot be read"):
        open_splits("hfds/no/such")


def shard(path: Path, numbers: range, **more: bytes) -> Path:
    members: dict[str, bytes | None] = {}
    for i in numbers:
        members |= {f"{i:03}.png": encoded(i), f"{i:03}.cls": str(i % 3).encode(), f"{i:03}.json": b"{}"}
    return pack(path, {**members, **more})


def test_webdataset_shards(root: Path) -> None:
    wds = pytest.importorskip("webdataset")
    for number in range(2):
        shard(root / f"train-{number:03}.tar", range(6 * number, 6 * number + 6))
    shard(root / "val-000.tar", range(3))
    splits = open_splits(f"wds/{root}")
    streamed = wds.WebDataset([str(root / f"train-{i:03}.tar") for i in range(2)], shardshuffle=False).decode("pil")

    assert {name: pictures.counts for name, pictures in splits.items()} == {"train": (4, 4, 4), "val": (1, 1, 1)}
    assert splits["train"].classes == ("0", "1", "2")
    for i, sample in enumerate(streamed):  # the peer's own reading
        assert np.array_equal(splits["train"].load(i), sample["png"])
        assert splits["train"].targets[i] == sample["cls"]
    (root / "classnames.txt").write_text("owl\nape\ncow\n")
    assert open_splits(f"wds/{root}/train-{{000..001}}.tar")["all"].classes == ("owl", "ape", "cow")
    (root / "_info.json").write_text(
        '{"splits": {"validation": {"name": "validation", "num_samples": 6, "filenames": ["train-001.tar"], '
        '"shard_lengths": [6]}}}'
    )
    assert [(n, len(p)) for n, p in open_splits(f"wds/{root}").items()] == [("val", 6)]


def test_shards_that_cannot_be_used(root: Path) -> None:
    pytest.importorskip("webdataset")
    with pytest.raises(DataError, match=r"no pictures with a \.cls"):
        open_splits(f"wds/{root}")
    shard(root / "train-0.tar", range(3))
    (root / "classnames.txt").write_text("owl\nape\n")
    with pytest.raises(DataError, match="names 2 classes, and the shards have a class number 2"):
        open_splits(f"wds/{root}")
    shard(root / "train-0.tar", range(3), **{"9.png": encoded()})
    with pytest.raises(DataError, match=r"picture '9' has no \.cls beside it"):
        open_splits(f"wds/{root}")


# What is refused before the first step, and in which words.


def test_nothing_there(root: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder or file"):
        open_splits(root / "nowhere")
    with pytest.raises(DataError, match="no pictures found"):
        open_splits(root)
    (root / "set.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"expected a folder, a \.tar file, a table .* found another file"):
        open_splits(root / "set.zip")
    with pytest.raises(DataError, match="no pictures found"):
        open_splits(pack(root / "empty.tar", {}))


@pytest.mark.parametrize("cut", [1, 700, 1500])
def test_a_damaged_archive(root: Path, cut: int) -> None:
    whole = pack(root / "whole.tar", {f"{name}/{i}.png": encoded(i) for name in "ab" for i in range(3)})
    (root / "cut.tar").write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"cut\.tar"):
        open_splits(root / "cut.tar")


Make = Callable[[Path], object]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: (fill(r / "a"), (r / "b").mkdir()), "no pictures in b; add some, or remove"),
        (lambda r: fill(r / "a"), "only one class, 'a'"),
        (lambda r: fill(r), "each picture in the folder of its class, found 0.png"),
        (lambda r: (fill(r / "a"), fill(r / "b", 1)), "class 'b' has 1 readable picture, too few"),
        (lambda r: (fill(r / "x" / "a"), fill(r / "y" / "a")), r"as in x/a/0\.png: say which is the class"),
        (lambda r: (fill(r / "train" / "a"), fill(r / "b")), "some pictures are in split folders and some"),
        (lambda r: [fill(r / n) for n in ("train/a", "train/b", "val/a", "val/c")], "no training pictures of c"),
        (lambda r: [fill(r / n) for n in ("train/a", "train/b", "test/a", "test/c")], "no training pictures of c"),
        (lambda r: [fill(r / n) for n in ("val/a", "val/b")], "expected split train, found val"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trained_on(root: Path, make: Make, message: str) -> None:
    make(root)
    with pytest.raises(DataError, match=message) as caught:
        opened(root)
    assert "\n" not in str(caught.value)


def test_validation_pictures_of_other_classes(root: Path) -> None:
    fill(root / "t" / "a"), fill(root / "t" / "b"), fill(root / "v" / "a"), fill(root / "v" / "B")
    with pytest.raises(DataError, match="no training pictures of B"):
        opened(root / "t", val=root / "v")


def test_a_class_whose_pictures_are_all_damaged(root: Path) -> None:
    fill(root / "a"), (root / "b").mkdir()
    (root / "b" / "0.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"no picture of class 'b' can be read; the first: .*0\.png: .* found an empty file"
    ):
        opened(root)


def test_hidden_folders_are_no_classes(root: Path) -> None:
    fill(root / "a"), fill(root / "b"), fill(root / ".ipynb_checkpoints", 1), fill(root / "__MACOSX" / "a", 1)
    data = opened(root)

    assert data.classes == ("a", "b")
    assert {skipped.where for skipped in data.skipped} == {".ipynb_checkpoints/0.png", "__MACOSX/a/0.png"}


# Pictures that cannot be read.


def damaged(folder: Path) -> set[str]:
    """Files that are no pictures, though named like some."""
    before = {f"{folder.name}/{file.name}" for file in folder.iterdir()}
    whole = BytesIO()
    picture(9, (64, 64)).save(whole, "JPEG")
    (folder / "truncated.jpg").write_bytes(whole.getvalue()[:1500])
    (folder / "empty.png").write_bytes(b"")
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    (folder / "text.jpg").write_text("<html>not found</html>")
    Image.fromarray(np.full((4, 4), 7, dtype=np.float32)).save(folder / "float.tif")
    Image.new("1", (14000, 14000)).save(folder / "bomb.png")
    return {f"{folder.name}/{file.name}" for file in folder.iterdir()} - before


def odd(folder: Path) -> None:
    """Files that are pictures, though not as usual."""
    picture().convert("CMYK").save(folder / "cmyk.jpg")
    picture().convert("L").save(folder / "grey.png")
    picture().convert("P").save(folder / "palette.gif")
    picture().convert("RGBA").save(folder / "alpha.webp")
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(folder / "deep.png")
    picture(0).save(folder / "moving.gif", save_all=True, append_images=[picture(1)])
    picture(0, (1, 1)).save(folder / "dot.bmp")


def test_damaged_pictures_are_found_listed_and_left_out(root: Path) -> None:
    fill(root / "a"), fill(root / "b")
    odd(root / "a")
    bad = damaged(root / "b")
    data = opened(root)

    assert {skipped.where for skipped in data.skipped} == bad
    assert all(skipped.reason for skipped in data.skipped)
    kept = {*data.train_pictures.names, *data.val_pictures.names}
    assert kept == {str(path.relative_to(root)) for path in root.rglob("*.*")} - bad
    data.adapt_to(vitzoo.create(SPEC))
    for dataset in (data.train_dataset, data.val_dataset):
        assert {x.shape for x, _ in (dataset[i] for i in range(len(dataset)))} == {(3, 16, 16)}
    with pytest.raises(DataError, match=r"6 of 21 pictures cannot be read, the first is b/bomb\.png"):
        opened(root, strict=True)


def test_the_check_is_done_once_until_a_file_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root / "a"), fill(root / "b")
    seen: list[int] = []
    read = Pictures.read
    monkeypatch.setattr(Pictures, "read", lambda self, i, form: (seen.append(i), read(self, i, form))[1])

    for _ in range(2):
        kept, skipped, _ = readable(open_splits(root)["all"])
        assert (len(kept), len(skipped), len(seen)) == (8, 0, 8)
    (root / "b" / "0.png").write_bytes(b"")
    kept, skipped, _ = readable(open_splits(root)["all"])
    assert (len(kept), [s.where for s in skipped], len(seen)) == (7, ["b/0.png"], 16)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"reasons": {"8": "x"}, "remarks": []}', '{"reasons": {}}', "\xff"]
)
def test_a_damaged_answer_is_computed_anew_and_said(root: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(root / "a"), fill(root / "b")
    (root / "b" / "0.png").write_bytes(b"")
    whole = readable(open_splits(root)["all"])
    (kept,) = (cache_folder() / "checked").glob("*.json")
    good = kept.read_bytes()
    kept.write_bytes(text.encode("latin-1"))
    again = readable(open_splits(root)["all"])
    assert (len(again.pictures), again.skipped) == (len(whole.pictures), whole.skipped) == (7, again.skipped)
    assert f"{kept} is damaged, so the pictures are checked anew: " in capsys.readouterr().err
    assert kept.read_bytes() == good


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    """The datasets library has errors of its own."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1" + bytes(64))
    with pytest.raises(DataError, match=r"x\.parquet: cannot be read: Parquet magic bytes not found"):
        open_splits(tmp_path / "x.parquet")


# Splits.


def numbered(counts: list[int]) -> Pictures:
    targets = np.repeat(np.arange(len(counts)), counts)
    names = [f"{t}/{i}" for i, t in enumerate(targets)]
    classes = tuple(map(str, range(len(counts))))
    return Pictures("numbers", None, classes, names, targets, np.arange(len(targets)), "")


@given(
    st.lists(st.integers(2, 40), min_size=1, max_size=6), st.floats(0, 0.95), st.integers(0, 2**31), st.integers(1, 9)
)
def test_a_split_is_stratified(counts: list[int], fraction: float, seed: int, most: int) -> None:
    pictures = numbered(counts)
    train, val = stratified(pictures, fraction, seed)

    assert not set(train.names) & set(val.names)
    assert sorted([*train.names, *val.names]) == sorted(pictures.names)
    for count, kept, held in zip(counts, train.counts, val.counts, strict=True):
        assert kept >= 1
        assert held >= 1
        assert abs(held - count * fraction) <= 1
    again = stratified(pictures, fraction, seed)
    assert (again[0].names, again[1].names) == (train.names, val.names)
    chosen = few(train, most, seed)
    assert chosen.counts == tuple(min(most, count) for count in train.counts)
    assert set(chosen.names) <= set(train.names)
    assert few(train, None, seed) is train


@given(st.lists(st.integers(2, 20), min_size=2, max_size=5), st.integers(0, 99))
def test_a_class_is_split_whatever_the_others_are(counts: list[int], seed: int) -> None:
    def held_out(counts: list[int]) -> list[int]:
        _, val = stratified(numbered(counts), 0.3, seed)
        return [int(number) for number, target in zip(val.numbers, val.targets, strict=True) if target == 0]

    assert held_out(counts) == held_out([counts[0], *(count + 1 for count in counts[1:])])


def test_another_seed_is_another_split() -> None:
    splits = {tuple(stratified(numbered([50, 50]), 0.2, seed)[1].names) for seed in range(5)}
    assert len(splits) == 5


def test_the_test_split_is_for_the_end(root: Path) -> None:
    for split, count in (("train", 10), ("test", 3)):
        fill(root / split / "a", count), fill(root / split / "b", count)
    data = opened(root, val_fraction=0.2)
    name, pictures = data.final()

    assert (data.counts, data.val_pictures.counts, name, pictures.counts) == ((8, 8), (2, 2), "test", (3, 3))
    assert not {n for n in (*data.train_pictures.names, *data.val_pictures.names) if n.startswith("test")}


# What each epoch shows.


def test_a_picture_looks_the_same_whoever_loads_it_and_whenever(root: Path) -> None:
    fill(root / "a", 9), fill(root / "b", 9)
    look = {"auto_augment": "rand-m9-mstd0.5-inc1", "random_erasing": 0.5, "color_jitter": 0.4}
    data = opened(root, **look).adapt_to(vitzoo.create(SPEC))

    def epoch(number: int, workers: int, dirt: int = 0) -> list[torch.Tensor]:
        torch.manual_seed(dirt), np.random.seed(dirt)
        data.num_workers = workers
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        return [x for x, _ in loader]

    first = epoch(3, 0)
    assert all(torch.equal(x, y) for x, y in zip(first, epoch(3, 2, dirt=1), strict=True))
    assert not torch.equal(first[0], epoch(4, 0)[0])
    one = [data.train_dataset[e, 0][0] for e in (0, 0, 1)]
    assert torch.equal(one[0], one[1])
    assert not torch.equal(one[0], one[2])


def test_each_picture_of_an_epoch_is_augmented_in_its_own_way(root: Path) -> None:
    for name in "ab":
        fill(root / name, 1), picture(0).save(root / name / "again.png")
    data = opened(root).adapt_to(vitzoo.create(SPEC))
    assert len({data.train_pictures.load(i).tobytes() for i in range(2)}) == 1
    assert not torch.equal(data.train_dataset[0, 0][0], data.train_dataset[0, 1][0])


def test_loading_a_picture_leaves_the_random_states_alone(root: Path) -> None:
    import random

    fill(root / "a"), fill(root / "b")
    data = opened(root, auto_augment="rand-m9").adapt_to(vitzoo.create(SPEC))
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    data.train_dataset[1, 0]
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], before[2])


@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 3), st.integers(0, 5), st.sampled_from([1, 2]))
def test_processes_share_an_epoch_step_by_step(count: int, parts: int, world: int, epoch: int, together: int) -> None:
    per_process = parts * together
    step = per_process * world
    samplers = [EpochSampler(count, step, 1, rank, world, together) for rank in range(world)]
    alone = EpochSampler(count, step, seed=1)
    for sampler in (alone, *samplers):
        sampler.set_epoch(epoch)
    whole, shared = list(alone), [list(sampler) for sampler in samplers]

    assert [len(part) for part in shared] == [len(sampler) for sampler in samplers]
    assert {number for number, _ in whole} == {epoch}
    if count < step:
        assert sorted(i for part in shared for _, i in part) == list(range(count))
        return
    assert len(whole) == count // step * step
    for first in range(0, len(whole) // world, per_process):
        seen = [key for part in shared for key in part[first : first + per_process]]
        assert sorted(seen) == sorted(whole[first * world : first * world + step])
    neighbours = [tuple(order[i : i + together]) for order in (whole, *shared) for i in range(0, len(order), together)]
    assert sorted(neighbours[: len(whole) // together]) == sorted(neighbours[len(whole) // together :])


def test_evaluation_pictures_are_those_of_timm(root: Path) -> None:
    from timm.data import create_transform

    fill(root / "a"), fill(root / "b")
    model = vitzoo.create(SPEC)
    data = opened(root).adapt_to(model)
    cfg = model.pretrained_cfg
    transform = create_transform(
        cfg["input_size"], interpolation="bicubic", mean=cfg["mean"], std=cfg["std"], crop_pct=cfg["crop_pct"]
    )
    for i in range(len(data.val_dataset)):
        assert torch.equal(data.val_dataset[i][0], transform(data.val_pictures.load(i)))


def test_without_augmentation_training_sees_evaluation_pictures(root: Path) -> None:
    fill(root / "a"), fill(root / "b")
    model = vitzoo.create(SPEC)
    still = recipe(crop_scale=None, hflip=0.0)
    assert torch.equal(training_transform(model, still)(picture()), vitzoo.preprocess(model)(picture()))
    flipped = training_transform(model, recipe(crop_scale=None, hflip=1.0))(picture())
    assert torch.equal(flipped, vitzoo.preprocess(model)(picture()).flip(-1))


def test_shifted_crops_show_a_window_of_the_padded_picture() -> None:
    model = vitzoo.create(SPEC)
    square = picture(3, (16, 16))
    shift = training_transform(model, recipe(crop_scale=None, hflip=0.0, crop_padding=2))
    padded = torch.nn.functional.pad(vitzoo.preprocess(model)(square)[None], (2, 2, 2, 2), mode="reflect")[0]
    windows = [padded[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    for seed in range(10):
        torch.manual_seed(seed)
        shown = shift(square)
        assert sum(torch.equal(shown, window) for window in windows) == 1


def test_grey_models_see_grey_pictures(root: Path) -> None:
    fill(root / "a"), fill(root / "b")
    model = vitzoo.create(SPEC, in_chans=1)
    data = opened(root, in_chans=1, auto_augment="rand-m9-mstd0.5-inc1").adapt_to(model)
    assert {x.shape for x, _ in (data.train_dataset[e, 0] for e in range(20))} == {(1, 16, 16)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_of_many_channels(root: Path, dtype: type) -> None:
    random, top = np.random.default_rng(0), 1 if dtype is np.float32 else np.iinfo(dtype).max
    for name in "ab":
        (root / name).mkdir()
        for i in range(4):
            np.save(root / name / f"{i}.npy", (random.random((16, 16, 12)) * top).astype(dtype))
    np.save(root / "b" / "thin.npy", np.zeros((16, 16, 3), dtype=dtype))
    np.save(root / "b" / "code.npy", np.array([print]), allow_pickle=True)
    model = vitzoo.create(SPEC, in_chans=12)
    data = opened(root, in_chans=12, hflip=1.0, crop_scale=None, random_erasing=0.0).adapt_to(model)

    assert {skipped.where for skipped in data.skipped} == {"b/thin.npy", "b/code.npy"}
    one = np.load(root / data.train_pictures.names[0])
    shown = data.train_dataset[0, 0][0]
    assert torch.allclose(shown, vitzoo.preprocess(model)(one).flip(-1), atol=1e-5)
    cropped = training_transform(model, recipe(random_erasing=1.0))(data.train_pictures.load(0, 12))
    assert cropped.shape == (12, 16, 16)
    with pytest.raises(SpecError, match="auto_augment and color_jitter are for 1 or 3 channels, and the model has 12"):
        training_transform(model, recipe(color_jitter=0.4))


def test_pictures_with_four_bands(root: Path) -> None:
    for name in "ab":
        fill(root / name, 3)
        for i in range(3):
            picture(i).convert("RGBA" if name == "a" else "CMYK").save(root / name / f"{i}.{'tif' if i else 'tiff'}")
    data = opened(root, in_chans=4)
    assert len(data.skipped) == 6  # those of three bands
    data.adapt_to(vitzoo.create(SPEC, in_chans=4))
    assert {data.train_dataset[0, i][0].shape for i in range(len(data.train_dataset))} == {(4, 16, 16)}


def test_an_unknown_augmentation_is_an_error() -> None:
    with pytest.raises(SpecError, match="auto_augment 'rnd-m9'"):
        training_transform(vitzoo.create(SPEC), recipe(auto_augment="rnd-m9"))
