"""The flag document and its evaluation; imports no Django."""
