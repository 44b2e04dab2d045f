"""Publishing: cards, snippets, the hub."""
