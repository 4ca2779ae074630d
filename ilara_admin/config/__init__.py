"""Configuration as code: document, plan and execution; may import everything."""
