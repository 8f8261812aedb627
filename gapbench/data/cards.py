"""The text of a benchmark's card for `gapbench benchmarks show`, and the Markdown table of the catalogue.

    print(card_text(load("vstar")))

Nothing is downloaded: the card shows an example prompt only if the data is already on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from textwrap import fill

from gapbench.data.benchmark import Benchmark
from gapbench.errors import GapbenchError
from gapbench.scoring.official import find
from gapbench.types import Card, Sample
from gapbench.views.prompts import TEMPLATE, prompt

INDENT = 14
WIDTH = 110
BOXED = ("evidence", "training")
"""Roles of benchmarks with evidence boxes."""
UNCHECKED = "nobody has compared this card with the real data; run `gapbench benchmarks check` and look at its sheet"


def card_text(benchmark: Benchmark) -> str:
    """The card as plain text, with the parameters, the protocols, and the prompt as a model sees it."""
    card = benchmark.card
    example = _example(benchmark)
    values_by_label = {
        "title": card.title, "role": card.role, "source": card.source, "hub": card.hub, "revision": card.revision,
        "files": ", ".join(card.files), "split": card.split, "licence": card.licence, "restricted": card.restricted,
        "region": card.region, "box format": _box_format(card, example),
        "clusters": card.cluster, "scoring": card.scoring,
        "official": f"{card.official}: {find(card.official).does}" if card.official else "",
        "metrics": ", ".join(card.metrics), "expected": ", ".join(f"{k} {v}" for k, v in card.expected.items()),
        "checked": card.checked or UNCHECKED,
        "notice": card.notice,
        "parameters": ", ".join(str(p.replace(annotation=p.empty)) for p in benchmark.settable.values()),
    }  # fmt: skip
    lines = [benchmark.name, *(_row(key, value) for key, value in values_by_label.items() if value)]
    lines += [_row("trap", trap) for trap in card.traps]
    lines += [_row("published", text) for text in _published(card)]
    for name, protocol in card.protocols.items():
        source = f"From {protocol.source}." if protocol.source else ""
        lines += [_row("protocol", f"{name}, by {protocol.metric}. {source} {protocol.note}"), _block(protocol.prompt)]
    if example is None:
        return "\n".join([*lines, _row("prompt", "neutral:"), _block(card.prompt or TEMPLATE)])
    try:
        text = example if isinstance(example, str) else prompt(example, card.prompt)
    except GapbenchError as error:
        text = f"no example: {error}"
    return "\n".join([*lines, _row("prompt", "neutral, for the first sample:"), _block(text)])


def _example(benchmark: Benchmark) -> Sample | str | None:
    """The first sample; None if the data would have to be fetched, and a text if it cannot be read."""
    if not benchmark.is_local:
        return None
    try:
        return benchmark.samples(1)[0]
    except GapbenchError as error:  # the card is useful even if the data is damaged
        return f"no example: {error}"


def _box_format(card: Card, example: Sample | str | None) -> str:
    """The format that the first sample declares, else the card's; empty for a benchmark without boxes."""
    if isinstance(example, Sample) and example.boxes and example.box_format != card.box_format:
        return f"{example.box_format}, as the first sample declares"
    return card.box_format if card.role in BOXED else ""


def _published(card: Card) -> Iterator[str]:
    """The published scores, one text each."""
    if isinstance(card.reference, Mapping):
        yield from (f"{model}: {text}" for model, text in card.reference.items())
        return
    for one in card.reference:
        what = " ".join(filter(None, (one.view, one.part, one.metric if one.metric != "accuracy" else "")))
        prompt_of = f"prompt {one.protocol}" if one.protocol else "prompt not known"
        yield f"{one.model}: {what} {one.value:g} ({'; '.join(filter(None, (one.source, prompt_of, one.note)))})"


def _row(key: str, value: str) -> str:
    text = " ".join(value.split())
    return fill(text, WIDTH, initial_indent=f"  {key:{INDENT - 2}}", subsequent_indent=" " * INDENT,
                break_long_words=False, break_on_hyphens=False)  # fmt: skip


def _block(text: str) -> str:
    return "\n".join(" " * INDENT + line for line in text.splitlines())


def catalogue_table(cards: Iterable[Card]) -> str:
    """The catalogue as a Markdown table, grouped by role; `benchmarks/README.md` holds it."""
    roles = {"evidence": "both views", "full-view": "full view; both with a region file",
             "hold-out": "full view, hold-out", "training": "training data"}  # fmt: skip
    lines = [
        "| name | for | samples | region | boxes as published | scored | licence | data | checked with |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for card in sorted(cards, key=lambda c: (list(roles).index(c.role), c.name)):
        boxed = card.role in BOXED
        count = card.expected.get("samples")
        cells = (
            f"`{card.name}`",
            roles[card.role],
            f"{count:,}" if count else "?",
            f"`{card.region}`" if boxed else "",
            card.box_format if boxed else "",
            card.scoring,
            card.licence + (" (**restricted**)" if card.restricted else ""),
            f"`{card.hub}` @ `{card.revision[:7]}`" if card.hub and card.revision else card.hub or card.source,
            card.checked or "**nothing yet**",
        )
        lines.append("| " + " | ".join(" ".join(c.replace("|", "\\|").split()) for c in cells) + " |")
    return "\n".join(lines) + "\n"
