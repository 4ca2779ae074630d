"""Loads a database of a given size and measures pages, table sizes and WAL on it; may import
everything."""
