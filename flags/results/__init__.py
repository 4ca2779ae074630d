"""Metrics, exposures, experiments and guarded rollouts of flags; imports all of flags but ofrep."""
