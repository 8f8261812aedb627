"""Official rules: what a benchmark's own script reads in an output, its faults included.

    OFFICIAL["pope"].score("There seems to be no dog.", ["no"], ())       # 1.0
    OFFICIAL["pope"].score("I cannot tell.", ["no"], ())                  # 0.0: the script takes all else for a yes

A card names its rule (`gapbench.types.Card.official`), and every report shows the run under it beside gapbench's own
rules. A rule gives a score from 0 to 1, or None if it reads no answer, which its script counts as wrong. `source` names
the file and the commit that the rule follows; `does` says in words what it does.

Limits: a rule reads the output without its thought, cut as gapbench cuts it. There is no rule for a benchmark whose
script asks an LLM about every answer (HR-Bench, O3-Bench, VisualProbe, Visual-CoT, ZoomBench) or about all that its
rule does not read (BLINK, where these are up to 70 % of the answers), compares likelihoods (V*), or is not public
(FINERS-4k, RealWorldQA).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gapbench.errors import SettingError
from gapbench.scoring.soft import vqa_normal
from gapbench.scoring.thoughts import split

Texts = Sequence[str]


@dataclass(frozen=True)
class Official:
    """A rule: `read(output, accepted answers, options)` gives its score in 0..1, or None if it reads no answer.

    For lettered questions the accepted answer is the letter.
    """

    read: Callable[[str, Texts, Texts], float | None]
    source: str
    does: str

    def score(self, output: str, answers: Texts, options: Texts) -> float | None:
        """The score of an output without its thought."""
        return self.read(split(output).answer, answers, options)


def find(name: str) -> Official:
    """The official rule called `name`. Raises SettingError, which lists the known names, if there is none."""
    if name not in OFFICIAL:
        raise SettingError(
            f"there is no official rule {name!r}. Known are {', '.join(OFFICIAL)}; correct the benchmark's card."
        )
    return OFFICIAL[name]


def _is(letter: str | None, answers: Texts) -> float | None:
    """1 if the letter that a rule has read is accepted, else 0; None if it has read none."""
    return None if letter is None else float(letter.upper() in {answer.upper() for answer in answers})


def _lettered(options: Texts) -> dict[str, str]:
    return dict(zip(string.ascii_uppercase, options, strict=False))


def _pope(output: str, answers: Texts, options: Texts) -> float:
    words = output.split(".")[0].replace(",", "").split(" ")
    said_no = not {"No", "not", "no"}.isdisjoint(words)
    return float(said_no == (answers[0].lower() == "no"))


# The published list has eight prefixes; two commas are missing in it, so its last four never match.
_MME_PREFIXES = ("The best answer is", "The correct answer is", "The answer is", "The answer")


def _mme_realworld(output: str, answers: Texts, options: Texts) -> float | None:
    text = output.strip()
    for prefix in _MME_PREFIXES:
        text = text.replace(prefix, "")
    if capital := re.search("[ABCDE]", text):
        return _is(capital[0], answers)
    if len(text.split()) > 10:
        return None
    within = (letter for letter, option in _lettered(options).items() if text.lower() in f"({letter}) {option}".lower())
    return _is(next(within, None), answers)  # an empty text is within the first option


def _mmstar(output: str, answers: Texts, options: Texts) -> float:
    text = output.lower().strip().replace("\n", " ")
    starts = ("", "(", "option ", "the answer is ")
    return float(any(text.startswith(start + answers[0].lower()) for start in starts))


def _after_keyword(output: str) -> str:
    """The lower-case text after the last "answer is" or "answer:"; of "answer is:" the colon stays, as published."""
    text = output.lower().strip()
    for keyword in ("answer is", "answer is:", "answer:"):
        text = text.split(keyword)[-1]
    return text.strip()


def _cv_bench(output: str, answers: Texts, options: Texts) -> float:
    text = _after_keyword(output).rstrip(".").lstrip("(").rstrip(")")
    return float(text[:1] == answers[0].lower())


def _mmvp(output: str, answers: Texts, options: Texts) -> float:
    text = _after_keyword(output).rstrip(".:,").lstrip("(").rstrip(")")
    return float(text in (answers[0].lower(), _lettered(options).get(answers[0].upper(), answers[0]).lower()))


def _treebench(output: str, answers: Texts, options: Texts) -> float:
    tagged = re.search(r"<answer>(.*?)</answer>", output, re.DOTALL)
    return float((tagged[1].strip() if tagged else output).upper() == answers[0].upper())


def _vicrop(output: str, answers: Texts, options: Texts) -> float:
    said = vqa_normal(output)
    return min(1.0, 0.3 * sum(number for answer, number in Counter(answers).items() if vqa_normal(answer) == said))


OFFICIAL: Mapping[str, Official] = {
    "cv-bench": Official(
        _cv_bench,
        "cambrian-mllm/cambrian eval/eval/ade/ade_test.py @ 539ffc3",
        "Takes the first character after the last “answer is” or “answer:”, or of the output, for the letter.",
    ),
    "mme-realworld": Official(
        _mme_realworld,
        "yfzhang114/MME-RealWorld evaluation/eval_your_results.py @ 11af66f",
        "Takes the first capital from A to E for the letter, wherever it stands, and else the first option that "
        "contains the output. An empty output counts as A.",
    ),
    "mmstar": Official(
        _mmstar,
        "MMStar-Benchmark/MMStar eval/vlmeval/evaluate/mmstar.py @ 88f243a",
        "Right if the output begins with the letter, in any case and after “(”, “option” or “the answer is”: "
        "“A man” begins with A.",
    ),
    "mmvp": Official(
        _mmvp,
        "cambrian-mllm/cambrian eval/eval/mmvp/mmvp_test.py @ 539ffc3, later and partly by MMVP's authors",
        "Right if the output, or what follows the last “answer is”, is the letter or the option and nothing else. "
        "MMVP's first script asks GPT-4 instead.",
    ),
    "pope": Official(
        _pope,
        "AoiDragon/POPE evaluate.py @ 08d957b",
        "Takes a first sentence with the word No, no or not for no, and all other output for yes.",
    ),
    "treebench": Official(
        _treebench,
        "Haochen-Wang409/TreeVGR inference_treebench.py @ 4823ad8",
        "Right if the text between answer tags, or without them the whole output, is the letter and nothing else.",
    ),
    "vicrop": Official(
        _vicrop,
        "saccharomycetes/mllms_know get_score.py @ a64c5d5",
        "0.3 for each reference that equals the whole output, at most 1. Both are normalised as in `vqa_accuracy`.",
    ),
}
"""The rules by name."""
