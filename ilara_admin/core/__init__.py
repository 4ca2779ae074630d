"""Projects, environments, keys, staff, audit and database access. Imports
only models."""
