"""The rule editor: drafts, forms and pages; may import the language and the rest of segments."""
