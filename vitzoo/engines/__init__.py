"""Engines: models as graphs that other programs run, written, read and run by one small file each."""
