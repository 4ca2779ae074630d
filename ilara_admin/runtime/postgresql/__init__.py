"""Django's database engine for the embedded server, and the places that the server uses."""
