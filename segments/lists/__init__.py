"""The include and exclude lists of segments. May import the language."""
