"""OpenAPI and the developers' pages. May import everything."""
