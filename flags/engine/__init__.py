"""The flag document and its evaluation; pure, so it imports no Django."""
