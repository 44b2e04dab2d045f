"""MoCo v3's pretraining files (facebookresearch/moco-v3 moco/builder.py, vits.py).

The encoder that is trained is the model, as in the authors' own main_lincls.py and convert_to_deit.py; its head is the
projection of the pretraining loss.
"""

from vitzoo.layouts.layout import Layout
from vitzoo.layouts.rules import Drop, inside
from vitzoo.layouts.timm import tables as timm
from vitzoo.spec import PosEmbed, Resample

TABLE = (
    *inside("base_encoder.", (rule for rule in timm.VISION_TRANSFORMER if rule not in timm.CLASSIFIER)),
    Drop("base_encoder.head.*", "projection head of the pretraining loss"),
    Drop("momentum_encoder.*", "the mean of the encoder, which gives the targets of the pretraining loss"),
    Drop("predictor.*", "predicts the targets of the pretraining loss"),
)

LAYOUTS = (
    Layout(
        "moco_v3",
        TABLE,
        holds={"pos_embed": (PosEmbed.FIXED,), "num_classes": (0,)},
        origin="facebookresearch/moco-v3 moco/builder.py, vits.py, class VisionTransformerMoCo",
        suffix=".pth",
        # It has no way to other sizes of its own; its convert_to_deit.py hands the files to DeiT's main.py.
        resample=Resample.MAE,
    ),
)
