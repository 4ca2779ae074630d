"""Django's PostgreSQL engine with time limits; imports only the rest of core."""
