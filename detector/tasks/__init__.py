"""The public functions, one for each task: they take names and paths and return tables.

`import detector` exports those for Python, and the command line calls them.

Only these functions and evaluation/ look up names in the registry; all lower layers are passed objects.
"""

from detector.tasks.catalogue import describe_card, describe_environment, describe_licence, list_things
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
