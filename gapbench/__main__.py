"""`python -m gapbench` and the `gapbench` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from gapbench.cli.app import app, run
    from gapbench.util.terminal import guard_terminal

    guard_terminal()
    sys.exit(run(app))


if __name__ == "__main__":
    main()
