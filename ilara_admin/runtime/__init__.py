"""`serve`, the embedded PostgreSQL, the web server's configuration and health. May import core."""
