"""The flag pages. May import the engine and the flags app."""
