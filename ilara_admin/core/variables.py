"""Environment variables that a server sets for its processes.

Imported before Django is set up, and before prometheus_client, which reads them at its import.
"""

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where the web processes of a server keep metrics
