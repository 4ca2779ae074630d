"""The endpoint layer of /v1. May import core."""
