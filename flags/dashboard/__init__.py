"""The flag pages. May import all of flags and what flags may import."""
