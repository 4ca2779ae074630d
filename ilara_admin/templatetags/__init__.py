"""Template tags and filters; may import core and web."""
