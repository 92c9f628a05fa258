"""The public functions, one a task: names and paths in, tables out. `import detector` offers them, the CLI calls them.

Only here and in evaluation/ are names turned into things; everything below takes objects.
"""

from detector.tasks.catalogue import describe_card, describe_environment, describe_licence, list_things
from detector.tasks.making import alter, draw_mixing, generate, index
from detector.tasks.measuring import check_data, evaluate, read_headline, run_suite, score
from detector.tasks.training import train
from detector.tasks.verifying import verify

__all__ = [
    "alter",
    "check_data",
    "describe_card",
    "describe_environment",
    "describe_licence",
    "draw_mixing",
    "evaluate",
    "generate",
    "index",
    "list_things",
    "read_headline",
    "run_suite",
    "score",
    "train",
    "verify",
]
