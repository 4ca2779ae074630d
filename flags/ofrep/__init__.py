"""OFREP, OpenFeature's remote evaluation protocol; may import what flags may import."""
