"""Statistics of scores: metrics, their intervals, calibration, errors by group of people."""
