"""The commands and what they share; may import everything."""
