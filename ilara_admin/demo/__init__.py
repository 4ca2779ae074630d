"""The sample game of `serve --demo`; may import everything."""
