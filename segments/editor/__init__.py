"""The rule editor: drafts, forms and pages. May import the language and the rest of segments."""
