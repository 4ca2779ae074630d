"""Dashboard pages that do not belong to an app."""
