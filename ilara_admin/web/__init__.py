"""The toolkit of the dashboard. May import core."""
