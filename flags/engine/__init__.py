"""The flag document and its evaluation. Pure: imports no Django."""
