"""The management commands and their shared code; may import everything."""
