"""The rule language: parser, evaluators, texts; pure, so it imports no Django."""
