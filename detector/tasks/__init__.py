"""The public functions, one for each task: they take names and paths, and return tables.

`import detector` exports those that are meant for Python, and the command line calls all of them. Names of generators
and detectors are looked up here and in evaluation/ only; the functions of lower layers take objects.
"""

from detector.tasks.catalogue import describe_card, describe_environment, describe_licence, list_registered
from detector.tasks.combining import combine
from detector.tasks.diagnosing import diagnose
from detector.tasks.exhibiting import make_gallery
from detector.tasks.making import alter, generate, index, unpack_photographs
from detector.tasks.measuring import audit, evaluate, read_headline, read_notes, run_suite
from detector.tasks.mixing import mix
from detector.tasks.projecting import project, show_directions
from detector.tasks.quizzing import make_quiz, mark_quiz
from detector.tasks.scoring import score, score_inputs
from detector.tasks.settings import list_settings, read_settings
from detector.tasks.training import train
from detector.tasks.verifying import verify

__all__ = [
    "alter",
    "audit",
    "combine",
    "describe_card",
    "describe_environment",
    "describe_licence",
    "diagnose",
    "evaluate",
    "generate",
    "index",
    "list_registered",
    "list_settings",
    "make_gallery",
    "make_quiz",
    "mark_quiz",
    "mix",
    "project",
    "read_headline",
    "read_notes",
    "read_settings",
    "run_suite",
    "score",
    "score_inputs",
    "show_directions",
    "train",
    "unpack_photographs",
    "verify",
]
