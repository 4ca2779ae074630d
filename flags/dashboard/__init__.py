"""The flag pages; may import all of flags and what flags may import."""
