"""Ingest, event log, stream, rollups and catalogue; may import players and the foundation."""
