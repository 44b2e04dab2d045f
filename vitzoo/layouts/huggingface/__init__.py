"""transformers: its tables, config.json and preprocessor_config.json."""
