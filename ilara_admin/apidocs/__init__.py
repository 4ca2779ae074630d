"""OpenAPI and the pages for developers. May import everything."""
