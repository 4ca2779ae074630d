"""OpenAPI and the developers' pages; may import everything."""
