"""Fine-tuning, probes and evaluation: what `pip install "vitzoo[train]"` adds. `recipe` alone needs no extra."""
