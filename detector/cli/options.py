"""Options that several commands share, and the exit statuses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SERIOUS, BAD_INPUT, SOME_UNREADABLE = 1, 2, 3  # exit statuses
Out = Annotated[Path, typer.Option("-o", "--output", help="Where to write.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]
