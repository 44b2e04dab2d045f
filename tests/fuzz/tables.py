"""Tables, datasets, streams, vectors and what vitzoo keeps for itself: more kinds of files that are changed."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tiny
from fuzz.corpus import Kind
from PIL import Image

from vitzoo import ViT
from vitzoo.cli.files import Files
from vitzoo.data.open import open_splits
from vitzoo.data.readable import readable
from vitzoo.data.stream import Flow
from vitzoo.embedding.duplicates import duplicates
from vitzoo.embedding.pipeline import embed
from vitzoo.embedding.search import nearest
from vitzoo.embedding.store import MANIFEST, Store
from vitzoo.errors import ImageError
from vitzoo.images.transform import preprocess
from vitzoo.registry.digests import Digests, Stated, read_digests


def pictures(folder: Path, names: tuple[str, ...] = ("0.png", "1.png")) -> list[str]:
    """Pictures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / name)
    return list(names)


def listed(path: Path) -> list[dict[str, object]]:
    """Rows of a table with pictures beside it."""
    return [
        {"file": name, "label": "ab"[i], "split": ("train", "val")[i], "weight": 1.5, "group": i}
        for i, name in enumerate(pictures(path.parent))
    ]


def checked(path: Path, kind: str = "") -> None:
    """As commands go over a data set: one that has a picture which cannot be read is refused."""
    for split in open_splits(f"{kind}{path}").values():
        readable(split, strict=True)


def text_table(delimiter: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        rows = listed(path)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)

    return make


def json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps({**row, "many": ["x", 1]}) + "\n" for row in listed(path)))


def parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(listed(path)), path)


def dataset(path: Path) -> None:
    """A folder that the datasets library loads, of which the list is changed."""
    names = pictures(path.parent)
    rows = [{"file_name": name, "label": "ab"[i]} for i, name in enumerate(names)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def stream(path: Path) -> None:
    """Names of pictures, one a line, as `classify -` reads them, and the pictures."""
    path.write_text("".join(f"{name}\n" for name in pictures(path.parent)))


def classified(path: Path) -> None:
    transform = preprocess(ViT(tiny.spec(**tiny.SMALLEST)))
    lines = path.read_bytes().replace(b"\0", b"\n").decode(errors="surrogateescape").splitlines()
    for batch in Flow(2).read(Files(lines), transform, 0):
        for reason in filter(None, batch.reasons):
            raise ImageError(reason)


def store(path: Path) -> None:
    """A store of vectors and of a picture without one, of which one file is changed."""
    folder, vit = path.parent / "pictures", tiny.randomise(ViT(tiny.spec(**tiny.SMALLEST)))
    pictures(folder)
    (folder / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nx")
    made = path.parent / "store"
    embed(vit, folder, made, num_workers=0)
    for file in made.iterdir():
        file.rename(path.parent / file.name)
    for file in path.parent.glob(f"{path.stem}-*.parquet"):
        file.rename(path)
    manifest = json.loads((path.parent / MANIFEST).read_text())
    for part in filter(None, (*manifest["parts"], manifest["unread"])):
        part["file"] = path.name if part["file"].startswith(f"{path.stem}-") else part["file"]
    (path.parent / MANIFEST).write_text(json.dumps(manifest))


def searched(path: Path) -> None:
    found = Store(path.parent)
    len(found), found.unread_rows()
    nearest(found, np.ones((1, 16), np.float32), 1)
    duplicates(found)


def digests(path: Path) -> None:
    one = Stated(sha256="0" * 64, stated="by somebody")
    path.write_text(Digests(files={"hf://org/x/f": one}).model_dump_json())


TABLES = (
    Kind("x.csv", text_table(","), checked),
    Kind("x.tsv", text_table("\t"), checked),
    Kind("x.jsonl", json_lines, checked),
    Kind("x.parquet", parquet, checked),
    Kind("metadata.jsonl", dataset, lambda path: checked(path.parent, "hfds/")),
    Kind("list.txt", stream, classified),
    Kind("part-00000.parquet", store, searched),
    Kind("_unread.parquet", store, searched),
    Kind(MANIFEST, store, searched),
    Kind("digests.json", digests, lambda path: read_digests(path.parent)),
)
