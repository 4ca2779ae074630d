"""The Django project; each folder says what it is and what it may import."""
