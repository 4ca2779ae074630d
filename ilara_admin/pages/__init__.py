"""Dashboard pages that do not belong to an app; may import everything."""
