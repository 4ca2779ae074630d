"""Shared tools of the dashboard. May import core."""
