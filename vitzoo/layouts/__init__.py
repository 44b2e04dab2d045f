"""Layouts: how published checkpoints name and shape their tensors, as tables that are read in both directions."""
