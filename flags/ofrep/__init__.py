"""OFREP, OpenFeature's remote evaluation protocol. May import what flags may import."""
