"""Shared tools of the dashboard; may import core."""
