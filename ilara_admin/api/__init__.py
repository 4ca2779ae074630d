"""The endpoint layer of /v1; may import core."""
