"""`python -m detector`, and the installed command `detector`."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command line, whose import takes a tenth of a second in which a person may already press Ctrl-C."""
    try:
        from detector.cli import main
    except KeyboardInterrupt:
        print("detector: interrupted", file=sys.stderr)
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
