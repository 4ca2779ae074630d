"""Django's database engine for the embedded PostgreSQL; may import the rest of runtime."""
