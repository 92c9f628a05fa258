"""The public functions, one for each task: names and paths in, tables out.

`import detector` offers those for Python, and the command line calls them.

Only here and in evaluation/ do names become objects; everything below takes objects.
"""

from detector.tasks.catalogue import describe_card, describe_environment, describe_licence, list_things
from detector.tasks.diagnosing import diagnose
from detector.tasks.making import alter, generate, index, mix
from detector.tasks.measuring import audit, evaluate, read_headline, run_suite
from detector.tasks.scoring import score, score_inputs
from detector.tasks.training import train
from detector.tasks.verifying import verify

__all__ = [
    "alter",
    "audit",
    "describe_card",
    "describe_environment",
    "describe_licence",
    "diagnose",
    "evaluate",
    "generate",
    "index",
    "list_things",
    "mix",
    "read_headline",
    "run_suite",
    "score",
    "score_inputs",
    "train",
    "verify",
]
