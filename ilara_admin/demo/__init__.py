"""The sample game of `serve --demo`. May import everything."""
