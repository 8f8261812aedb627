"""The anatomy in one sentence of plain words, which says what may be nothing.

sentence(found)
# 'Of the 42.0 points, 30.0 come with resolution, 9.0 with removing the surroundings and 3.0 with both together;
#  zooming recovers 20.0 of them at 2.1 times the tokens.'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gapbench.analysis.aggregate import Json
from gapbench.util.text import capital, points_in_words

PARTS = {
    "resolution": "with resolution",
    "surroundings": "with removing the surroundings",
    "both": "with both together",
    "rest": "with what else the crop changes",
}
STEPS = {
    "mask": "with removing the surroundings",
    "crop_native": "with removing the canvas",
    "crop": "with enlarging what is left",
}
WAYS = {"image": "a drawn box", "text": "a hint in words", "coordinates": "coordinates"}


def sentence(found: Mapping[str, Any]) -> str:
    """The sentence of an anatomy; empty if there is nothing to say."""
    every = (found["gap"] or {}).get("n") or 0
    return _joined([*_composition(found, every), *_cures(found["cures"], "of them ", every), *_pointing(found)])


def cured(cures: Sequence[Json]) -> str:
    """The sentence of cures alone; empty if none recovers a shown share of the gap."""
    return _joined(_cures(cures, f"of {points_in_words(cures[1]['estimate'] - cures[0]['estimate'])} points "))


def _joined(clauses: Sequence[str]) -> str:
    text = "; ".join(clauses)
    return f"{capital(text)}." if text else ""


def _composition(found: Mapping[str, Any], every: int) -> list[str]:
    gap = (found["parts"] or {}).get("gap") or found["gap"]
    if not gap or gap["estimate"] is None:
        return []
    if not _shown(gap) or gap["estimate"] <= 0:
        shown = "no gap is shown" if not _shown(gap) else "there is no gap to take apart"
        return [f"{shown}: crop minus full is {_points(gap)}"]
    total = f"of the {points_in_words(gap['estimate'])} points{_over((found['parts'] or {}).get('n'), every)}"
    if found["parts"]:
        pieces = [f"{_points(found['parts'][key])} {words}" for key, words in PARTS.items()]
        return [f"{total}, {pieces[0].replace(' with', ' come with', 1)}, {_listed(pieces[1:])}"]
    if found["waterfall"]:
        steps = [f"{_points(step)} {STEPS[step['to'].partition(':')[0]]}" for step in found["waterfall"]["steps"]]
        return [f"{total}, {_listed(steps).replace(' with', ' come with', 1)}, in this order"]
    known = {"full_up": PARTS["resolution"], "mask": PARTS["surroundings"]}
    alone = {v: e["change"] for v, e in found["by_view"].items() if v.partition(":")[0] in known and e["change"]}
    pieces = [f"{_points(one)} {known[view.partition(':')[0]]}{_parameters(view)}" for view, one in alone.items()]
    return [f"{total}, {_listed(pieces).replace(' with', ' come with', 1)} alone"] if pieces else []


def _pointing(found: Mapping[str, Any]) -> list[str]:
    pieces = [f"{_points(entry)} by {WAYS[way]}" for way, entry in found["pointing"].items()]
    return [f"pointing brings {_listed(pieces)}"] if pieces else []


def _cures(cures: Sequence[Json], of: str, every: int = 0) -> list[str]:
    """The cures that recover a shown share of the gap, the largest first."""
    shown = [cure for cure in cures if cure["share"] and cure["share"]["ci"] and cure["share"]["ci"][0] > 0]
    shown.sort(key=lambda cure: -cure["share"]["estimate"])
    pieces = []
    for cure in shown[:3]:
        times = (cure["times_image_tokens"] or {}).get("estimate")
        price = "" if times is None else " at no more tokens" if times < 1.005 else f" at {times:.1f} times the tokens"
        over = _over(cure.get("n"), every)
        pieces.append(f"{points_in_words(cure['gain']['estimate'])} with {cure['name']}{price}{over}")
    return [_listed(pieces).replace(" with", f" {of}come back with", 1)] if pieces else []


def _over(n: int | None, every: int) -> str:
    """Said of a number that rests on fewer samples than the gap, because not all were answered in its views."""
    return f" (over the {n:,} of {every:,} samples answered in every view needed)" if n and n < every else ""


def _points(entry: Json) -> str:
    """The points of a part, marked where its interval holds zero."""
    return points_in_words(entry["estimate"]) + ("" if _shown(entry) else " (perhaps none)")


def _shown(entry: Json) -> bool:
    return entry["ci"] is not None and not entry["ci"][0] <= 0 <= entry["ci"][1]


def _parameters(view: str) -> str:
    parameters = view.partition(":")[2]
    return f" ({parameters})" if parameters else ""


def _listed(pieces: Sequence[str]) -> str:
    return pieces[0] if len(pieces) == 1 else f"{', '.join(pieces[:-1])} and {pieces[-1]}"
