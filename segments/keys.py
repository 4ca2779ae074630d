"""The keys of segments and flags. Imports no Django."""

import re

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
KEY_FORM = "Use 1 to 128 letters, digits, dots, hyphens and underscores, a letter or digit first."
