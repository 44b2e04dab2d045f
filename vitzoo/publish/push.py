"""A model and its card, checked, then put on the Hugging Face hub in one commit."""

import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import torch

from vitzoo.checkpoints.create import build
from vitzoo.checkpoints.facts import TRAINING
from vitzoo.checkpoints.identify import identify
from vitzoo.checkpoints.save import save
from vitzoo.checkpoints.tensors import NativeTensors
from vitzoo.errors import PublishError, VitzooError
from vitzoo.files.atomic import replacing_folder
from vitzoo.files.read import open_tensors
from vitzoo.model import TimmDialect
from vitzoo.publish.card import check_layout, write_card
from vitzoo.publish.results import Results, read_results
from vitzoo.registry.licenses import RestrictedLicense, license_to_publish
from vitzoo.sources.failures import explain
from vitzoo.spec import PERMISSIVE, About
from vitzoo.version import __version__

Model = TimmDialect | str | os.PathLike[str]

# What readers of a repository would take for the model. Of an earlier one nothing of it may stay beside the new one.
OF_A_MODEL = (
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_config.json",
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
)


def push(
    model: Model,
    repo: str,
    *,
    layout: str = "vitzoo",
    license: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    results: Results = None,
    token: str | None = None,
) -> str:
    """Publish a model on the Hugging Face hub, with a card; returns the address of the commit.

    The folder is written and read again before anything is sent, and sent as one commit: a reader sees all of it or
    nothing. Weights and configuration of an earlier model in the repository are removed by the same commit, other files
    stay.

    Args:
        model: a model, or what `create` takes: a name, a file, a folder.
        repo: `org/name`; made if it is not there.
        layout: "vitzoo" (one file that describes itself), "huggingface" or "timm": what their own libraries load.
        license: as the hub spells it; that of the weights if not given.
        private: of a new repository; what is usual for the owner if not given.
        revision: a branch, made if it is not there; "main" if not given.
        results: what was measured, for the card; see `write_card`.
        token: for the hub; that of `hf auth login` or HF_TOKEN if not given.

    Raises:
        PublishError: the hub cannot be reached or does not accept it.
        LicenseError: no licence is known, or another than the weights allow.
        LayoutError: the layout cannot hold the model.
    """
    check_layout(layout)
    read_results(results)
    check_repo(repo)
    token = find_token(repo, token)
    with tempfile.TemporaryDirectory(prefix="vitzoo-") as temporary:
        folder = prepare(
            model, Path(temporary) / "model", repo, layout=layout, license=license, revision=revision, results=results
        )
        return _upload(folder, repo, private, revision, commit_message or f"Upload {repo.partition('/')[2]}", token)


def prepare(
    model: Model,
    folder: str | Path,
    repo: str,
    *,
    layout: str = "vitzoo",
    license: str | None = None,
    revision: str | None = None,
    results: Results = None,
) -> Path:
    """Write the folder that `push` would send; returns it. It must be new or empty; arguments and errors as there."""
    check_layout(layout)
    check_repo(repo)
    folder = Path(folder)
    built = copy(model if isinstance(model, TimmDialect) else build(TimmDialect, model, pretrained=True))
    started_from = _public(built.about)
    built.about = started_from.replace(license=license_to_publish(started_from, license))
    if built.license not in PERMISSIVE:
        warnings.warn(
            f"{repo} is published under '{built.license}', which restricts use or redistribution: read it, do what it "
            "asks of those who pass the weights on, and add its text to the repository",
            RestrictedLicense,
            stacklevel=2,
        )
    card = {"repo": repo, "revision": revision, "layout": layout, "license": license, "results": results}
    try:
        with replacing_folder(folder) as partial:
            save(built, partial / "model.safetensors" if layout == "vitzoo" else partial, layout)
            _check_written(built, partial)
            built.about = started_from
            write_card(built, partial, **card)  # type: ignore[arg-type]
    except OSError as error:
        raise PublishError(
            f"{folder} cannot be written: {error.strerror or error}; give another folder (for push: TMPDIR)"
        ) from error
    return folder


def _public(about: About) -> About:
    """Without the paths that were in use, which are nobody else's business."""
    past = {
        name: None if origin is None else origin.public()
        for name, origin in (("origin", about.origin), ("derived_from", about.derived_from))
    }
    if about.training is None:
        return about.replace(**past)
    training = {name: value for name, value in about.training.items() if name != "start"}  # `derived_from` says it
    if "data" in training:
        training["data"] = Path(training["data"]).name
    return about.replace(**past, training=training)


def check_repo(repo: str) -> None:
    """Refuse what is not the name of a repository on the hub, before anything is done for it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise PublishError(
            f"'{repo}' is not the name of a repository: {str(error).rstrip('.')}; expected org/name"
        ) from None
    if repo.count("/") != 1:
        raise PublishError(
            f"'{repo}' is not the name of a repository: expected org/name, with the owner before the slash"
        )


def find_token(repo: str, token: str | None = None) -> str:
    """`token`, or the one that is stored here; an error where there is none or the hub may not be asked."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise PublishError(
            f"{repo} cannot be published, since HF_HUB_OFFLINE is set; unset it, or write the folder alone (--dry-run)"
        )
    found = token or get_token()
    if found is None:
        raise PublishError(f"publishing {repo} needs a login: {_login()}")
    return found


def _check_written(model: TimmDialect, folder: Path) -> None:
    """Read a folder as `create` does, and compare every tensor.

    Raises:
        PublishError: it holds something else than `model`.
    """
    found = identify(open_tensors(folder), {})
    tensors, state = NativeTensors(found.file, found.layout, found.spec), model.state_dict()
    fields = [name for name in type(found.spec).model_fields if name not in TRAINING]
    wrong = [name for name in fields if getattr(found.spec, name) != getattr(model.spec, name)]
    wrong = wrong or [key for key, tensor in state.items() if not torch.equal(tensors.read(key), tensor.detach().cpu())]
    if wrong:
        raise PublishError(
            f"layout '{found.layout.name}' does not give the model back: {', '.join(wrong[:8])}; if a tensor holds "
            "NaN, mend the model, else publish it in layout 'vitzoo'"
        )


def _upload(folder: Path, repo: str, private: bool | None, revision: str | None, message: str, token: str) -> str:
    from huggingface_hub import HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT, token=token, library_name="vitzoo", library_version=__version__)
    with _explained(repo):
        api.create_repo(repo, private=private, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise PublishError(
                f"{repo} is there already and is public; make it private in its settings, or name another"
            )
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            delete_patterns=list(OF_A_MODEL),
        )
    return str(commit.commit_url)


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """What the hub has against it, as one line that says what to do."""
    from huggingface_hub import constants

    try:
        yield
    except VitzooError:
        raise
    except Exception as error:  # see `explain`: what comes here differs with the client's version
        cause = error.__cause__ if type(error) is RuntimeError and isinstance(error.__cause__, Exception) else error
        status = getattr(getattr(cause, "response", None), "status_code", None)
        said = getattr(cause, "server_message", None) or str(cause)
        reason = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), type(cause).__name__)
        refused = isinstance(cause, ValueError) and not isinstance(cause, json.JSONDecodeError)
        if status == 401:
            text = f"{constants.ENDPOINT} does not accept your token; {_login()}"
        elif status in (403, 404):
            text = (
                f"you may not write to {repo} at {constants.ENDPOINT}: {reason}; ask its owner for write access, or "
                "use a token with the role 'write'"
            )
        elif status == 412:
            text = f"somebody else changed {repo} at the same time; nothing was sent, try again"
        elif status in (400, 413, 422) or refused:
            text = f"{constants.ENDPOINT} does not accept {repo}: {reason}"
        else:
            text = (
                f"{explain(cause, repo, constants.ENDPOINT)}. A model is sent as one commit, all of it or nothing: "
                f"look at {constants.ENDPOINT}/{repo}, then push again"
            )
        raise PublishError(text) from error


def _login() -> str:
    from huggingface_hub import constants

    return (
        f"run `hf auth login`, or set HF_TOKEN to a token with the role 'write' ({constants.ENDPOINT}/settings/tokens)"
    )
