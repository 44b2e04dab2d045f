"""`vitzoo`'s exact search in a store beside faiss's flat index and scikit-learn, and the memory of a large store.

    python benchmarks/search.py [--vectors 100000] [--length 384] [--queries 1 16] [--repeats 7] [--large 2000000]

All have the same vectors, and begin with files: vitzoo with a store of Parquet, faiss with an index that it wrote,
scikit-learn with a .npy file. Contenders take turns. faiss and scikit-learn are also asked with everything in memory
already. All answers have to be the same. Needs faiss-cpu and scikit-learn. Nothing here asserts a time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from run import interleave, table
from sklearn.neighbors import NearestNeighbors

import vitzoo
from vitzoo.embedding.nearest import nearest, unit
from vitzoo.embedding.recipe import Recipe
from vitzoo.embedding.store import Row, Store
from vitzoo.embedding.writing import writing
from vitzoo.spec import About

PEAK = """
import sys, resource, time
import numpy as np
from vitzoo.embedding.nearest import nearest
from vitzoo.embedding.store import Store
store = Store(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
queries = np.random.default_rng(1).normal(size=(1, store.recipe.length)).astype(np.float32)
begin = time.perf_counter()
nearest(store, queries, 10)
seconds = time.perf_counter() - begin
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, before // 1024, round(seconds, 1))
"""


def laid_out(folder: Path, count: int, length: int) -> Store:
    """A store of random vectors, file by file."""
    shape, spec = (length,), vitzoo.info("vit_s16").spec
    recipe = Recipe(model="x", weights="0", features="cls", shape=shape, img_size=(224, 224), spec=spec, about=About())
    draw = np.random.default_rng(0)
    with writing(folder, recipe) as writer:
        for start in range(0, count, 65_536):
            part = draw.standard_normal((min(65_536, count - start), length), np.float32)
            writer.commit([Row(str(start + i), "s", None, None, None, str(start + i)) for i in range(len(part))], part)
        return writer.store


def compared(folder: Path, count: int, length: int, asked: int, repeats: int) -> None:
    store = laid_out(folder / "store", count, length)
    whole = unit(np.concatenate([block.vectors for block in store.blocks()]))
    queries = np.random.default_rng(1).standard_normal((asked, length), np.float32)
    wanted = unit(queries)
    flat = faiss.IndexFlatIP(length)
    flat.add(whole)
    faiss.write_index(flat, str(folder / "faiss"))
    np.save(folder / "whole.npy", whole)
    known = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(whole)

    def from_file() -> Any:
        fitted = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(np.load(folder / "whole.npy"))
        return fitted.kneighbors(queries)[1]

    work: dict[str, Callable[[], Any]] = {
        "vitzoo": lambda: [[int(hit.row.key) for hit in hits] for hits in nearest(store, queries, 10)],
        "faiss": lambda: faiss.read_index(str(folder / "faiss")).search(wanted, 10)[1],
        "scikit-learn": from_file,
        "faiss, in memory": lambda: flat.search(wanted, 10)[1],
        "scikit-learn, in memory": lambda: known.kneighbors(queries)[1],
    }
    truth = np.asarray(work["faiss"]())
    for name, ask in work.items():
        answers = zip(truth.tolist(), np.asarray(ask()).tolist(), strict=True)
        same = np.mean([len(set(one) & set(other)) / 10 for one, other in answers])
        assert same == 1, f"{name}: recall {same}"

    def measure(name: str) -> float:
        begin = perf_counter()
        work[name]()
        return perf_counter() - begin

    print(table(f"{asked} queries, {count:,} vectors of {length}", "ms", 1e3, interleave(work, repeats, measure)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--length", type=int, default=384)
    parser.add_argument("--queries", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large", type=int, default=0, help="vectors of the store whose memory is measured")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, numpy {np.__version__}, faiss {faiss.__version__}")
    for asked in given.queries:
        with tempfile.TemporaryDirectory() as name:
            compared(Path(name), given.vectors, given.length, asked, given.repeats)
    if given.large:
        with tempfile.TemporaryDirectory() as name:
            laid_out(Path(name) / "store", given.large, given.length)
            done = subprocess.run(
                [sys.executable, "-c", PEAK, str(Path(name) / "store")], check=True, capture_output=True, text=True
            )
            peak, before, seconds = done.stdout.split()
            print(f"{given.large:,} vectors of {given.length}: peak {peak} MB, {before} MB of it before; {seconds} s")


if __name__ == "__main__":
    main()
