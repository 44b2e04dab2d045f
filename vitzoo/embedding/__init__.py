"""Vectors of pictures at scale, the folder that they are kept in, and what is found by them."""
