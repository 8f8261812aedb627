"""Fetches what a card names: a Hub data set at its pinned revision, only the files that are read.

    folder = fetch(load("vstar").card)

Limits: see the errors.
"""

from __future__ import annotations

from pathlib import Path

from gapbench.errors import BenchmarkError
from gapbench.types import Card


def fetch(card: Card) -> Path:
    """The local folder of the card's data set, downloaded first where it is not cached.

    Raises BenchmarkError when there is nothing to fetch, the Hub cannot be reached, or access is refused.
    """
    if not card.hub:
        raise BenchmarkError(f"{card.name}: its card names no Hub data set. Give a local copy: -b {card.name}=FOLDER.")
    raise BenchmarkError(f"{card.name}: not fetched yet.")
