"""Pictures: read, and prepared for a model."""
