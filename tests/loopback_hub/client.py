"""The huggingface_hub client of this process, set up for one hub as `LoopbackHub.environment` does it for another."""

import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from .hub import LoopbackHub

UNSET = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VITZOO_CACHE", "VITZOO_LOCK", "VITZOO_MIRROR")


def use(hub: LoopbackHub, home: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[float]:
    """Online, no token, all under `home`, no real waits; returns the seconds that were to be waited.

    `settings` are more constants of the client, which it reads from the environment when it is imported.
    """
    home.mkdir(parents=True, exist_ok=True)
    own = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }
    for name, value in {**own, **settings}.items():
        monkeypatch.setattr(constants, name, value)
    proxies = [f"{scheme}_proxy" for scheme in ("http", "https", "all")]
    for name in (*UNSET, *proxies, *map(str.upper, proxies)):
        monkeypatch.delenv(name, raising=False)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept
