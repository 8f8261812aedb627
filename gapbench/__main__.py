"""`python -m gapbench` and the `gapbench` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; errors meant for the user become one paragraph and exit code 2."""
    from gapbench.cli import app, run

    sys.exit(run(app))


if __name__ == "__main__":
    main()
