"""The rule editor; may import the language and the rest of segments."""
