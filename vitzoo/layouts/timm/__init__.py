"""timm: its tables and its config.json."""
