"""Generators of clients and linters, from PyPI and npm, on the published specification."""
