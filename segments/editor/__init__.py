"""The rule editor. May import the language and the segments app."""
