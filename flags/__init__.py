"""Feature flags; may import segments, events, players and the foundation."""
