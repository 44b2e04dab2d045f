"""What all tests share: one thread a worker, no time limits on busy machines, and never the network."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers are parallel already
os.environ["HF_HUB_OFFLINE"] = "1"

from hypothesis import settings

settings.register_profile("vitzoo", deadline=None, derandomize=True)
settings.load_profile("vitzoo")
