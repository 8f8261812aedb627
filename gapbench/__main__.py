"""`python -m gapbench` and the `gapbench` command."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TextIO

_show_warning = warnings.showwarning


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of gapbench as one line, without the code that raised it; leave others to Python."""
    if Path(__file__).parent in Path(filename).parents:
        print(f"gapbench: warning: {message}", file=sys.stderr)
    else:
        _show_warning(message, category, filename, lineno, file, line)


def main() -> None:
    """Run the command line and exit with its code."""
    from gapbench.cli.app import app, run

    warnings.showwarning = _print_warning
    sys.exit(run(app))


if __name__ == "__main__":
    main()
