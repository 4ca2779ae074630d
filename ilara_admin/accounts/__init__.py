"""Sign-in, second factors, sessions and the own account; may import everything."""
