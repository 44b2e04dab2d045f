"""The part of docs/layouts.md about configuration files: which keys of each are read, from their tables."""

from collections.abc import Iterable

from vitzoo.layouts.config_rules import Rule
from vitzoo.layouts.huggingface.config import KINDS, NESTED
from vitzoo.layouts.open_clip import config as open_clip
from vitzoo.layouts.timm.arguments import BEIT, EVA, HARMLESS, IN_CODE, VISION_TRANSFORMER, Class
from vitzoo.markdown import code, table

INTRODUCTION = """## What is read of configuration files

A folder, or a file in one, is read with the configuration beside it: `config.json` of timm, of transformers or of
transformers' wrapper around timm, and `open_clip_config.json`, which comes first for weights that bear open_clip's own
name. What a file states is true for its weights, and tensors that contradict it are an error. Where a file of timm is
silent, its entry point tells what is usual; since code may have set something else, the tensors and what you give count
more: give `mlp="gated"`, `act="silu"` for a SwiGLU that JSON cannot name. In the files of timm and open_clip a key that
is not known here and may change numbers is an error that names it; transformers' files have many keys for training, and
those that are not here are not looked at. The same tables write `config.json`; `open_clip_config.json` is read only, as
it describes a model of pictures and texts, and a tower alone is none."""


def configurations() -> list[str]:
    """What is read of each file, with what changes no number of a picture."""
    rows = [("`config.json` of timm", name, _keys(kind.rules)) for name, kind in _classes().items()]
    rows.append(("", "changes no number", code(sorted(HARMLESS))))
    rows += [("`config.json` of transformers", f"`{name}`", _keys(kind.rules)) for name, kind in KINDS.items()]
    whole = ", ".join(f"`{outer}`" for outer in NESTED)
    rows.append(("", whole, "`vision_config`, of the tower's own type"))
    towers = (("its own tower", open_clip.TOWER), ("a tower of timm", open_clip.TRUNK_HEAD))
    for name, rules in (*towers, ("`preprocess_cfg`", open_clip.PREPROCESSING)):
        rows.append(("`open_clip_config.json`", name, _keys(rules)))
    rows.append(("", "changes no number", code(sorted(open_clip.HARMLESS))))
    return [INTRODUCTION, "", *table(("file", "of", "keys"), rows)]


def _classes() -> dict[str, Class]:
    return {"`VisionTransformer`": VISION_TRANSFORMER, "`Eva`": EVA, "`Beit`": BEIT}


def _keys(rules: Iterable[Rule]) -> str:
    """Keys in the order of the table, but those that only code can give."""
    named = IN_CODE - {"norm_layer", "embed_norm_layer", "attn_layer", "mlp_layer"}
    return code(dict.fromkeys(key for rule in rules for key in rule.keys if key not in named))
