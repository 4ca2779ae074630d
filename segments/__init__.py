"""Segments; may import events, players and the foundation."""
