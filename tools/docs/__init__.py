"""The pages under `docs/` that are written from the registry and the layouts: `python -m tools.docs [--check]`."""
