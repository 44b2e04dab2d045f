"""Evaluation: predictions measured and drawn."""
