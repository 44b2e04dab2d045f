"""Weights: files, where they come from, how they get into a model and out of it again."""
