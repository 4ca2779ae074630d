"""The keys of segments and flags. Imports no Django."""

import re

from ilara_admin.api.json_schema import END

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}" + END
KEY = re.compile(KEY_PATTERN)
KEY_FORM = "Use 1 to 128 letters, digits, dots, hyphens, underscores; begin with a letter or digit."
