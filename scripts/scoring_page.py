"""Writes the page of the rules of scoring: docs/scoring.md. `tests/scoring/test_page.py` compares it.

    python scripts/scoring_page.py

The examples are those of `tests/scoring/rules.jsonl`, which the tests score.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gapbench.scoring import score

ROOT = Path(__file__).resolve().parents[1]
PAGE, EXAMPLES = ROOT / "docs" / "scoring.md", ROOT / "tests" / "scoring" / "rules.jsonl"

HEAD = """# How an answer is read

<sub>Written by `python scripts/scoring_page.py` from the examples that the tests score; a test fails when it is out of
date. The words and forms are in [phrases.toml](../gapbench/scoring/phrases.toml).</sub>

A thought, mark-up, coordinates, and what is struck through, or crossed out beside a tick, are cut away. Then the first
step that finds something decides:

1. **A statement.** "The answer is B", "Answer: 3", a box, an answer tag, "I think it is B". A box, a tag and "final
   answer" outrank "the answer is", which outranks a bare answer, "B is correct" and, last, "I think". Within a rank the
   last one wins if the text takes the earlier one back ("wait", "but") or concludes ("so"); else they contradict each
   other and decide nothing. So does an answer at the start that a conclusion contradicts without taking it back.
2. **A bare answer.** A letter, a number, yes or no, or a short text that stands alone or begins the output.
3. **The clause that answers.** What follows the last change of mind is split into clauses. One that concludes ("so",
   "therefore") answers, else one whose subject is what was asked, else the only one. One option's text, one number, the
   question said as a statement, or a short text must be said in it affirmatively.
4. **Else the answer is unparsed**, and a judge may be asked.

A mention, a rejection, a question, a quotation within a sentence, a supposition ("A would be right if"), a doubt or a
list never counts. Labels that run from A are a list. "The second option" is its letter. Of numbers, bounds, denied
numbers and numbers of lists do not count; a total counts alone if its parts add up; of several numbers the one right
before what is asked about counts, if the others count or name other things. In texts, signs, currencies and comparisons
count, and the end of a longer name ("New York" for York) is no answer, unless a person is asked for. Of German, French,
Spanish, Portuguese, Italian, Russian and Korean only yes, no, two to ten, "the answer is" and a few refusals are known.
A letter beside another option's text contradicts itself. A refusal without an answer, and an output that breaks off
before its answer, are unparsed in every answer type.
"""
TITLES = {
    "letter": "Letters",
    "yes_no": "Yes or no",
    "number": "Numbers",
    "text": "Texts",
    "vqa": "VQA accuracy",
    "anls": "ANLS",
}


def examples() -> list[dict[str, Any]]:
    """The labelled examples, in order."""
    return [json.loads(line) for line in EXAMPLES.read_text(encoding="utf-8").splitlines()]


def page() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    for kind, title in TITLES.items():
        chosen = [example for example in examples() if example["answer_type"] == kind]
        given = [
            f"\n{name}: {_shown(chosen[0][name.lower()])}\n"
            for name in ("Options", "Question")
            if name.lower() in chosen[0]
        ]
        parts.append(f"\n## {title}\n" + "".join(given))
        parts.append("\n| Output | Accepted | Read as | Outcome | Rule |\n|---|---|---|---|---|\n")
        parts += [_row(example) for example in chosen]
    return "".join(parts)


def _row(example: dict[str, Any]) -> str:
    options, question = example.get("options", ()), example.get("question", "")
    found = score(example["output"], example["answers"], example["answer_type"], options, question)
    cells = (example["output"], *example["answers"], found.parsed or "")
    shown = [f"`{cell.replace('|', ' ')}`".replace("\n", "` `") if cell else "" for cell in cells]
    return f"| {' | '.join(shown)} | {found.outcome} | {found.rule} |\n".replace("` ``", "`")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
