"""Evaluation of detectors: scores joined to a manifest, metrics with intervals, suites, the gate and the report."""
