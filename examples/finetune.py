"""Fine-tune on a folder of class folders: `python examples/finetune.py FOLDER`; writes out/mine.

Needs the extra `train`: `pip install ".[train]"`.
"""

import sys

import vitzoo

if __name__ == "__main__":  # the processes that load pictures import this file
    vitzoo.finetune("vit_nano4.cifar10", sys.argv[1], "out/mine", epochs=2, batch_size=8)
    model = vitzoo.create("out/mine")
    print("classes:", *model.labels)
    measured = vitzoo.evaluate("out/mine", sys.argv[1], split="val")
    print(f"top-1: {measured.top1:.1%} of {len(measured.targets)} pictures")
