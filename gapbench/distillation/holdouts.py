"""The hold-outs that a training is measured on unless told otherwise: those that need no download.

    names, text = default_holdouts(limit=None)      # ["signs_colour", "mmvp"], "hold-outs, measured before and …"

A hold-out shows whether a training made other abilities worse. Of the catalogue's hold-outs (`role="hold-out"`), those
whose data is on this machine are taken, the smallest first, up to `MOST` samples together.

Limits: what is taken depends on what was downloaded before, so training data is never left out because of them.
"""

from __future__ import annotations

from gapbench.data import catalogue
from gapbench.util.text import listed

MOST = 2_000
"""Samples of all of them together: a few minutes for a model of some billion parameters on a GPU."""


def default_holdouts(limit: int | None, drawn_only: bool = False) -> tuple[list[str], str]:
    """The names of the hold-outs, and a sentence that says so and what is missing.

    `limit` is the most samples of each. `drawn_only` takes those that gapbench draws, for a model that knows no other.
    """
    benchmarks = [b for name in catalogue.names() if (b := catalogue.load(name)).card.role == "hold-out"]
    considered = [b for b in benchmarks if not (drawn_only and b.card.hub)]
    sizes = {b.name: min(b.card.expected.get("samples", MOST), limit or MOST) for b in considered if b.is_local}
    chosen: list[str] = []
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        if sum(sizes[one] for one in chosen) + sizes[name] <= MOST:
            chosen.append(name)
    text = f"hold-outs, measured before and after: {', '.join(chosen)} (--no-holdout leaves them out)"
    if not chosen:
        text = "no hold-out is measured (--no-holdout silences this)"
    others = [b.name for b in considered if b.name not in sizes]
    if others and not any(b.card.hub for b in considered if b.name in chosen):
        text += f". Not on this machine: {listed(others, 9)}; --eval NAME fetches and measures one"
    return chosen, text
