"""`serve`, the embedded PostgreSQL, the web server's configuration, health; may import core."""
