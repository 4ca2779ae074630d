"""OpenAPI and the pages for developers; may import everything."""
