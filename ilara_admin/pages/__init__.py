"""The dashboard pages that belong to no app."""
