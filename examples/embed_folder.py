"""Embed all pictures of a folder: `python examples/embed_folder.py FOLDER [MODEL]`; writes vectors.npz."""

import sys
from pathlib import Path

import numpy as np
import torch

import vitzoo

folder = Path(sys.argv[1])
model = vitzoo.create(*sys.argv[2:3] or ["vit_nano4.cifar10"], pretrained=True, num_classes=0)  # features, not classes
transform = vitzoo.preprocess(model)
files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
with torch.inference_mode():
    vectors = torch.cat([model(transform(file)[None]) for file in files]).numpy()
np.savez("vectors.npz", files=[str(file.relative_to(folder)) for file in files], vectors=vectors)
print(f"{len(files)} pictures, vectors of {vectors.shape[1]} numbers: vectors.npz")
