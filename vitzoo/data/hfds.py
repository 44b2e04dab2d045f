"""Datasets of the Hugging Face hub, or local ones that the datasets library loads."""

from urllib.parse import parse_qsl

import numpy as np

from vitzoo.data.pictures import SPLITS, Pictures, reading_errors
from vitzoo.errors import DataError


def open_dataset(name: str) -> dict[str, Pictures]:
    """`NAME`, or `NAME?input_key=COLUMN&target_key=COLUMN`; see `open_splits`."""
    name, _, settings = name.partition("?")
    splits = {}
    with reading_errors(f"hfds/{name}", needs="datasets"):
        from datasets import load_dataset
        from timm.data.readers import create_reader

        options = dict(parse_qsl(settings, strict_parsing=bool(settings)))
        wanted = (options.get("input_key", "image"), options.get("target_key", "label"))
        for split, dataset in load_dataset(name).items():
            if split not in SPLITS:
                raise DataError(f"hfds/{name}: expected splits named {', '.join(SPLITS)}, found '{split}'")
            if not set(wanted) <= set(dataset.column_names):  # timm would add the column
                raise DataError(
                    f"hfds/{name}: expected columns '{wanted[0]}' and '{wanted[1]}', found "
                    f"{', '.join(dataset.column_names)}; say which: hfds/{name}?input_key=COLUMN&target_key=COLUMN"
                )
            reader = create_reader(f"hfds/{name}", split=split, **options)
            classes = tuple(reader.class_to_idx)
            if not classes:
                raise DataError(f"hfds/{name}: column '{wanted[1]}' has no class names; name a ClassLabel column")
            targets = np.fromiter(reader.iter_targets(), dtype=np.int64, count=len(reader))
            if (targets < 0).any():
                continue  # a split whose classes are kept secret, as test splits sometimes are
            splits[SPLITS[split]] = Pictures(
                f"hfds/{name}",
                reader,
                classes,
                [f"{split}/{i}" for i in range(len(reader))],
                targets,
                np.arange(len(reader), dtype=np.int64),
                str(reader.dataset._fingerprint),
            )
    if not splits:
        raise DataError(f"hfds/{name}: no split tells the classes of its pictures; expected one that does")
    return splits
