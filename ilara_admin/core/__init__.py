"""Projects, environments, keys, staff, audit and database access; imports only models."""
