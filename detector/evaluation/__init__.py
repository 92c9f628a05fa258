"""What detectors are worth: scores beside a manifest, metrics with intervals, suites, the gate and the report."""
