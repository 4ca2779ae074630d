"""The Django project; each folder states its purpose and what it may import."""
