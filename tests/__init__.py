"""Tests, benchmarks and the pictures of the README."""

import os

# For the programs among them; pytest sets it itself.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
