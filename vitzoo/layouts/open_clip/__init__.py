"""OpenCLIP, and what is built like its towers: tables and open_clip_config.json."""
