"""A loopback hub: a server on 127.0.0.1 that speaks the Hugging Face hub's protocol to the real client.

    with LoopbackHub() as hub:                                   # cdn=True: large files by redirect, as at the hub
        commit = hub.add("org/repo", {"model.safetensors": data, "config.json": b"{}"})   # moves main
        hub.tag("org/repo", "v1", commit)                        # older commits stay readable by their id
        hub.gate("org/repo", "hf_granted")                       # the files only for this token
        hub.user("ann", "hf_ann", organizations=("org",))        # a token that may write to ann/* and org/*
        address = hub.url("/files/x.pth", data, ranges=False)    # a plain file by its address

        hub.fault(Closed(0.5), path="*model.safetensors", times=2, after=1)
        hub.fault(Meanwhile(lambda: hub.add("org/repo", changed)), method="HEAD")         # main moves before the GET
        hub.random_faults(0.2, seed=0)

        subprocess.run([...], env=hub.environment(tmp_path, token="hf_ann"))
        assert hub.count("GET", "*model.safetensors") == 2       # hub.requests: method, path, range, status, faults
        assert hub.files("org/repo") == {...}                    # what an upload left there
        hub.clear()                                              # faults and requests

`wire` puts responses on a socket, `repository` is what the hub holds, `reading` and `writing` are its routes, `faults`
what can go wrong, `schedule` when. Several faults at one request wrap each other, the latest outermost.
There is no xet: downloads and uploads are plain HTTP, for which `environment` sets HF_HUB_DISABLE_XET.
"""

from .faults import (
    PASSING,
    Closed,
    Fault,
    Flipped,
    Hanging,
    HtmlPage,
    Meanwhile,
    Packed,
    RedirectLoop,
    Reset,
    Slow,
    Status,
    TooMuch,
    Unmeasured,
    WrongETag,
    WrongLength,
)
from .hub import Exchange, LoopbackHub

__all__ = [
    "PASSING",
    "Closed",
    "Exchange",
    "Fault",
    "Flipped",
    "Hanging",
    "HtmlPage",
    "LoopbackHub",
    "Meanwhile",
    "Packed",
    "RedirectLoop",
    "Reset",
    "Slow",
    "Status",
    "TooMuch",
    "Unmeasured",
    "WrongETag",
    "WrongLength",
]
