"""Fine-tuning, probes and evaluation: what the extra `train` adds. `recipe` alone needs no extra."""
