"""Exporting: graphs that are compared with the model before they are kept, number formats, and speed on a machine."""
