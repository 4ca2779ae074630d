"""Players, their sessions, purchases, aliases and notes; may import the foundation."""
