"""The rule language: parser, both evaluators and texts. Pure: imports no Django."""
