"""`python -m gapbench` and the `gapbench` command."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TextIO

_show = warnings.showwarning


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Ours as users read them, without the line of code that noticed; those of libraries as Python shows them."""
    if Path(__file__).parent in Path(filename).parents:
        print(f"gapbench: warning: {message}", file=sys.stderr)
    else:
        _show(message, category, filename, lineno, file, line)


def main() -> None:
    """Run the command line; errors meant for the user become one paragraph and exit code 2."""
    from gapbench.cli.app import app, run

    warnings.showwarning = _warn
    sys.exit(run(app))


if __name__ == "__main__":
    main()
