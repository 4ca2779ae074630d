"""OFREP, OpenFeature's remote evaluation protocol. May import the engine and the flags app."""
