"""Checkpoints: from bytes to a model and back."""
