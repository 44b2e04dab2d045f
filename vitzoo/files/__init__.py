"""Files: bytes and tensors, read and written; no models."""
