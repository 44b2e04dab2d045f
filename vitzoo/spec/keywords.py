"""What an unknown keyword of `create` means to who knows it from another library."""

import difflib

from vitzoo.spec.architecture import ViTSpec

ELSEWHERE = {
    # timm
    "checkpoint_path": "give the file in the place of the name: vitzoo.create(path)",
    "drop_rate": "there is no dropout but drop_path_rate",
    "pos_drop_rate": "there is no dropout but drop_path_rate",
    "proj_drop_rate": "there is no dropout but drop_path_rate",
    "attn_drop_rate": "there is no dropout but drop_path_rate",
    "embed_dim": "it is hidden_dim here",
    "mlp_ratio": "give mlp_dim, an integer: the ratio times hidden_dim",
    "init_values": "it is layer_scale here",
    "act_layer": "it is act here",
    "norm_layer": "it is norm here",
    "dynamic_img_size": "every model takes every size; img_size is the one that its tables have",
    "features_only": "every model gives them: model.forward_intermediates(pictures)",
    "out_indices": "give them as indices: model.forward_intermediates(pictures, indices=...)",
    "pretrained_cfg": "what is known of weights is model.about",
    "pretrained_cfg_overlay": "what is known of weights is model.about",
    "cache_dir": "set the environment variable HF_HUB_CACHE",
    # transformers
    "hidden_size": "it is hidden_dim here",
    "num_hidden_layers": "it is depth here",
    "num_layers": "it is depth here",
    "num_attention_heads": "it is num_heads here",
    "intermediate_size": "it is mlp_dim here",
    "image_size": "it is img_size here",
    "num_channels": "it is in_chans here",
    "num_labels": "it is num_classes here",
    "hidden_act": "it is act here",
    "layer_norm_eps": "it is norm_eps here",
    "id2label": "set model.labels",
    "label2id": "set model.labels",
    "torch_dtype": "it is dtype here",
    "device_map": "it is device here",
    "token": "set the environment variable HF_TOKEN",
    "trust_remote_code": "leave it out: no code of a repository is run",
    "ignore_mismatched_sizes": "leave it out: give num_classes, and the classifier is made anew",
    "revision": "write it after the name: vitzoo.create('hf-hub:org/repo@revision')",
    # torchvision and open_clip
    "weights": "name them after the model, as vitzoo.list_pretrained() does, and give pretrained=True",
    "progress": "leave it out: downloads of the hub's client show one by themselves",
    "precision": "it is dtype here",
    "force_image_size": "it is img_size here",
}


def unknown_field(name: str, also: tuple[str, ...] = ()) -> str:
    """What to say of a field that no spec has; `also` are the caller's other arguments."""
    if name in ELSEWHERE:
        return f"unknown field '{name}': {ELSEWHERE[name]}"
    near = difflib.get_close_matches(name, (*ViTSpec.model_fields, *also), n=3)
    if near:
        return f"unknown field '{name}'; did you mean {' or '.join(near)}?"
    return f"unknown field '{name}'; the fields are {', '.join(sorted(ViTSpec.model_fields))}"
