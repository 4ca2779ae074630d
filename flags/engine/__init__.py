"""The flag document and its evaluation. Imports no Django."""
