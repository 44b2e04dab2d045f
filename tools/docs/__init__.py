"""The pages and tables that are written from registry, layouts and tests: `python -m tools.docs [--check]`."""
