"""Django's database engine for the embedded server, and the server's folders and programs."""
