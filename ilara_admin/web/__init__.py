"""The toolkit of the dashboard; may import core."""
