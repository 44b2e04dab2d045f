"""Which test holds which layout against what. A test asserts that the files and the names in them are there."""

from typing import NamedTuple


class Run(NamedTuple):
    """One comparison that the tests make."""

    layouts: tuple[str, ...]
    judge: str
    """What is asked, in words; the backquoted names in it stand in the test's text."""
    tolerance: str
    test: str


VERSIONS = {"timm": "1.0.31", "transformers": "5.24", "torchvision": "0.29", "open_clip": "3.3"}
"""Of the packages that the runs below were made with."""

TOWERS = ("timm", "timm_packed", "timm_eva", "timm_eva_packed", "timm_eva_split", "timm_eva_split_packed")
FOLDERS = (
    *("hf_vit", "hf_deit", "hf_ijepa", "hf_dinov2", "hf_dinov2_with_registers", "hf_dinov3_vit"),
    *("hf_siglip", "hf_clip", "hf_beit", "hf_aimv2"),
)
BITS = "bit for bit"
CLOSE = f"1e-5, tensors {BITS}"
HUGGINGFACE = "layouts/test_huggingface.py"
META = "layouts/test_meta.py"
OPEN_CLIP = "layouts/test_open_clip.py"

RUNS: tuple[Run, ...] = (
    Run(("vitzoo",), "`native_shapes` against the module's own `state_dict`", "equal", "model/test_vit.py"),
    Run(("vitzoo",), "from and to the other layouts: `test_there_and_back`", BITS, "checkpoints/test_convert.py"),
    Run(
        (*TOWERS, "timm_beit"),
        "timm, all classes: folders of `save_for_hf`, and ours by `create_model`",
        CLOSE,
        "layouts/test_timm.py",
    ),
    Run(
        (*TOWERS, "timm_beit"),
        "timm's names and shapes for every plain tag; `test_outputs_are_timms` at three sizes",
        "1e-5 of the largest value",
        "registry/test_against_timm.py",
    ),
    Run(
        ("hf_vit",),
        "transformers `ViTModel`, `ViTForImageClassification`, `ViTMSNModel`, `ViTMSNForImageClassification`; "
        "the encoder of `ViTMAEForPreTraining`, read alone",
        CLOSE,
        HUGGINGFACE,
    ),
    Run(
        ("hf_deit",),
        "transformers `DeiTModel`, `DeiTForImageClassification`, `DeiTForImageClassificationWithTeacher`",
        CLOSE,
        HUGGINGFACE,
    ),
    Run(("hf_ijepa",), "transformers `IJepaModel`, `IJepaForImageClassification`", CLOSE, HUGGINGFACE),
    Run(("hf_dinov2",), "transformers `Dinov2Model`, `Dinov2ForImageClassification`", CLOSE, HUGGINGFACE),
    Run(
        ("hf_dinov2_with_registers",),
        "transformers `Dinov2WithRegistersModel`, `Dinov2WithRegistersForImageClassification`",
        CLOSE,
        HUGGINGFACE,
    ),
    Run(("hf_dinov3_vit",), "transformers `DINOv3ViTModel`", CLOSE, HUGGINGFACE),
    Run(("hf_siglip",), "transformers `SiglipVisionModel`, `SiglipForImageClassification`", CLOSE, HUGGINGFACE),
    Run(("hf_siglip2",), "transformers `Siglip2VisionModel` on square pictures", CLOSE, HUGGINGFACE),
    Run(
        ("hf_clip",),
        "transformers `CLIPVisionModel`, `CLIPVisionModelWithProjection`; the tower of `CLIPModel`, read alone",
        CLOSE,
        HUGGINGFACE,
    ),
    Run(("hf_beit",), "transformers `BeitModel`, `BeitForImageClassification`", CLOSE, HUGGINGFACE),
    Run(("hf_aimv2",), "transformers `Aimv2VisionModel` at its own size", CLOSE, HUGGINGFACE),
    Run(
        FOLDERS,
        "folders of `vitzoo.save`, read by `from_pretrained` and `AutoImageProcessor`, then by `vitzoo.create`",
        CLOSE,
        "layouts/test_huggingface_folders.py",
    ),
    Run(
        ("hf_siglip2",),
        "transformers' pipeline on a folder: `test_the_pipeline_cuts_the_patches_of_siglip2_itself`",
        "1e-4",
        "layouts/test_huggingface_folders.py",
    ),
    Run(
        ("torchvision", "torchvision_v1"),
        "torchvision `VisionTransformer`, strict loading",
        CLOSE,
        "layouts/test_torchvision.py",
    ),
    Run(
        ("google", "google_linen"),
        "a numpy reference on the stored arrays, `flax_vit`",
        CLOSE,
        "layouts/test_google.py",
    ),
    Run(("google",), "timm `VisionTransformer` by `load_pretrained`", "1e-5", "layouts/test_google.py"),
    Run(
        ("big_vision", "big_vision_scan"),
        "a numpy reference on the stored arrays, `flax_vit`",
        CLOSE,
        "layouts/test_big_vision.py",
    ),
    Run(
        ("big_vision", "big_vision_scan"),
        "timm `VisionTransformer` by `load_pretrained`",
        "1e-5",
        "layouts/test_big_vision.py",
    ),
    Run(
        ("big_vision_naflex",),
        "the same reference, arrays reshaped, at the table's grid: `test_naflex_keeps_flat_patches_and_the_grid`",
        CLOSE,
        "layouts/test_big_vision.py",
    ),
    Run(
        ("big_vision_naflex_scan",),
        "import of export alone: `test_import_of_export_is_the_identity`",
        BITS,
        "layouts/test_big_vision.py",
    ),
    Run(("dino", "mae"), "timm `VisionTransformer`, whose names are the authors'", CLOSE, META),
    Run(("deit",), "timm `VisionTransformer`, `VisionTransformerDistilled`", CLOSE, META),
    Run(("ijepa",), "timm `VisionTransformer`, whose names are the authors'", CLOSE, META),
    Run(("deit3",), "timm `VisionTransformer`, by timm's filter for the authors' files, `vit_filter`", CLOSE, META),
    Run(("dinov2",), "a reference in our words, `references.dinov2`", CLOSE, META),
    Run(("dinov2",), "timm `VisionTransformer`, by timm's filter for the authors' files, `vit_filter`", "1e-5", META),
    Run(("dinov3",), "a reference in our words, `references.dinov3`", CLOSE, META),
    Run(("dinov3",), "tokens of timm `Eva`, by timm's filter for the authors' files, `eva_filter`", "1e-4", META),
    Run(("open_clip",), "open_clip `CLIP`, its own tower", CLOSE, OPEN_CLIP),
    Run(("pe", "pe_no_class"), "a reference in our words, `references.perception_encoder`", CLOSE, OPEN_CLIP),
    Run(("pe",), "timm `Eva`, by timm's filter for the authors' files, `eva_filter`", "1e-5", OPEN_CLIP),
    Run(
        ("open_clip_timm", "open_clip_timm_projected"),
        "open_clip `CLIP` around a tower of timm, `vit_tiny_patch16_224`",
        f"1e-5 of the largest value, tensors {BITS}",
        OPEN_CLIP,
    ),
    Run(
        tuple(f"open_clip_{name}{end}" for name in TOWERS[1:] for end in ("", "_projected")),
        "import of export alone, for a plain ViT: `test_import_of_export_is_the_same_bit_for_bit`",
        BITS,
        OPEN_CLIP,
    ),
)

UNTESTED = {
    "open_clip_timm_beit": "none of its own; its rules are `timm_beit`'s under open_clip's prefix",
    "open_clip_timm_beit_projected": "none of its own; its rules are `timm_beit`'s under open_clip's prefix",
}
"""Layouts that no run covers, with what can be said for them."""
