"""Backup and restore with the programs of PostgreSQL; may import core and the rest of runtime."""
