"""Convert weights for timm and prove that nothing changed: `python examples/convert_and_verify.py [MODEL]`."""

import sys

import timm
import torch

import vitzoo

source = sys.argv[1] if len(sys.argv) > 1 else "vit_nano4.cifar10"
folder = vitzoo.convert(source, "out/for_timm", layout="timm").target
print(vitzoo.verify(folder))  # timm's own class on the folder against vitzoo: tokens, features, logits

ours, theirs = vitzoo.create(folder), timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
pictures = torch.randn(2, *theirs.pretrained_cfg["input_size"])
with torch.inference_mode():
    torch.testing.assert_close(ours(pictures), theirs(pictures), atol=1e-5, rtol=1e-5)
print("timm gives the same logits")
