"""How many samples and clusters show a gap, or a change of it, of some size; in words.

print(power("vstar", gap=5).text())
power(n=800, clusters=200, discordant=20)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gapbench.errors import BenchmarkError, SettingError
from gapbench.util.text import aligned, points_in_words

ASSUMED = (0.1, 0.2, 0.3)
"""Discordant shares where none is known."""


@dataclass(frozen=True)
class SampleSizes:
    """What samples in clusters show: by discordant share, the effects, and the (samples, clusters) that `gap` needs."""

    name: str
    n: int
    clusters: int
    worth: float
    rows: Sequence[tuple[float, float, float, tuple[int, int] | None, tuple[int, int] | None]]
    gap: float | None

    def text(self) -> str:
        """The table in words."""
        from gapbench.analysis.sample_size import ICC, KEPT

        head = f"{self.name}: " if self.name else ""
        alike = f", worth {self.worth:,.0f} independent samples" if self.n > self.clusters else ""
        titles = ["discordant", "gap", "change of it"]
        if self.gap is not None:
            wanted = points_in_words(self.gap)
            titles += [f"for a gap of {wanted}", f"for a change of {wanted}"]
        lines = [titles] + [
            [f"{100 * share:.0f} %", points_in_words(gap), points_in_words(change)]
            + ([_counts(a), _counts(b)] if self.gap is not None else [])
            for share, gap, change, a, b in self.rows
        ]
        return (
            f"{head}{self.n:,} samples in {self.clusters:,} clusters{alike} show these effects, in points, in 80 % of "
            f"runs at the 5 % level:\n{aligned(lines)}\nDiscordant: right in one of the two views only. Assumed: "
            f"samples of a cluster correlate with {ICC}; before and after a training, {100 * KEPT:.0f} % of the "
            "samples keep their answers but for what changes."
        )


def power(
    name: str = "", *, n: int | None = None, clusters: int | None = None, discordant: float | None = None,
    gap: float | None = None,
) -> list[SampleSizes]:  # fmt: skip
    """What a benchmark, each benchmark of a run folder, or `n` samples in `clusters` clusters can show.

    `discordant` is in percent (default: what the run has, or 10, 20 and 30), `gap` in points: also say how many samples
    show it. Raises SettingError for counts that cannot be, and what loading the benchmark or the run raises.
    """
    from gapbench.analysis.sample_size import needed, shown, worth

    if bool(name) == (n is not None) or (name and clusters is not None):
        raise SettingError("power: expected either a benchmark or a run, or --n with --clusters.")
    for flag, value in (("--discordant", discordant), ("--gap", gap)):
        if value is not None and not 0 < value <= 100:
            raise SettingError(f"power {flag} {value:g}: expected a number above 0, at most 100 (percent or points).")
    count = n or 0
    found = _counted(name) if name else [("", count, count if clusters is None else clusters, None)]
    result = []
    for title, count, groups, observed in found:
        if not 0 < groups <= count:
            raise SettingError(f"power: {count} samples in {groups} clusters cannot be. Expected 1 <= clusters <= n.")
        known = discordant / 100 if discordant is not None else observed
        effect = None if gap is None else gap / 100
        rows = []
        for share in (known,) if known is not None else ASSUMED:
            can, each = shown(count, groups, share), count / groups
            sizes = [needed(effect, share, each, change) if effect else None for change in (False, True)]
            rows.append((share, can.gap, can.change, sizes[0], sizes[1]))
        result.append(SampleSizes(title, count, groups, worth(count, groups), rows, effect))
    return result


def _counted(name: str) -> list[tuple[str, int, int, float | None]]:
    """(name, samples, clusters, discordant share) of a benchmark by its card or its data, or of a run's benchmarks."""
    from gapbench.runs.manifest import FILE

    if (Path(name) / FILE).is_file():
        from gapbench.commands.report import load_run

        gaps = {key: entry for key, entry in load_run(name).summary["benchmarks"].items() if entry["gap"]}
        if not gaps:
            raise SettingError(f"power {name}: no benchmark of this run has a gap. Expected answers in full and crop.")
        return [
            (key, entry["gap"]["n"], entry["gap"]["clusters"],
             (entry["pairs"]["crop_only"] + entry["pairs"]["full_only"]) / entry["gap"]["n"] or None)
            for key, entry in gaps.items()
        ]  # fmt: skip
    from gapbench.data.benchmark import group_of
    from gapbench.data.catalogue import load

    benchmark = load(name)
    expected = benchmark.card.expected
    clusters = expected.get("clusters", expected.get("images"))
    if not benchmark.chosen and clusters and "samples" in expected:
        return [(benchmark.name, expected["samples"], clusters, None)]
    try:
        samples = benchmark.samples()
    except BenchmarkError:  # its data is not here
        if benchmark.chosen or "samples" not in expected:
            raise
        title = f"{benchmark.name}, as if each sample had its own image (its data is not here)"
        return [(title, expected["samples"], expected["samples"], None)]
    return [(benchmark.name, len(samples), len(set(map(group_of, samples))), None)]


def _counts(sizes: tuple[int, int] | None) -> str:
    return "more than anyone has" if sizes is None else f"{sizes[0]:,} in {sizes[1]:,}"
