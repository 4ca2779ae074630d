"""The dashboard pages that belong to no domain; may import everything."""
