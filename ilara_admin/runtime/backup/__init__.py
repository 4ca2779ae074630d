"""Backup and restore with PostgreSQL's own programs; may import core and the rest of runtime."""
