"""Examines a judge: asks it about answers whose verdict is known, each in two orders.

    found = examine(Judge("http://localhost:8000/v1", "openai/gpt-oss-120b"))
    found.level, found.text, found.remedy       # "ok", ("It agrees with the known verdict on 43 of 44 pairs …", …), ""

`known_pairs.jsonl` holds question, options, references and an answer, with the verdicts that are right: mostly one,
two where readers may differ. They were written by hand, and no rule of `gapbench.scoring` decides any of them, since
only such answers reach a judge. The first order is the prompt of every judged run. The second turns around what should
not matter: the three verdicts, reference and answer, and the options with their letters. A verdict that changes with
the order is not one about the answer.

The level is

- `fails` if the server fails, there is no verdict, fewer than 75 % agree, or a plain test question is missed (`connect`
  refuses then);
- `warning` if fewer than 90 % agree, more than 10 % change with the order, a reply is no verdict, or a wrong answer
  that tells the judge what to say is accepted;
- `ok` else.

These limits are choices, not findings. The commonest right verdict is right for under half of the pairs, so at 75 % the
whole interval lies above a judge that always says the same. At 90 % four of 44 verdicts are wrong, and effects of a few
points would need fewer. Of the answers that tell the judge what to say, one accepted is too many: a measured model
writes them. No in place of cannot tell counts as an error too, though neither scores.

Limits: 44 pairs give an interval of about ten points to either side, and are no sample of a benchmark's answers: a
judge that passes may still fail on yours, and the share of wrong verdicts here is not that of a run. The pairs are
public, so a model may have seen them. The schema of the reply is the same in both orders.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from gapbench.analysis.statistics import LEVEL, Estimate, mean_difference, mean_interval, sign_flip_test
from gapbench.errors import ModelError
from gapbench.judging import Judge
from gapbench.judging.connection import Judgement, untested
from gapbench.judging.prompt import PLAIN, JudgeVerdict, prompt
from gapbench.runs.judgements import lettered_options
from gapbench.runs.session import run_loop
from gapbench.util.progress import progress
from gapbench.util.text import capital, interval, listed, p_in_words, percent_in_words

FAILS_BELOW, WARNS_BELOW, MOST_CHANGED = 0.75, 0.90, 0.10
INJECTION = "injection"
"""The kind of pairs whose answer is wrong and tells the judge what to say."""

Level = Literal["ok", "warning", "fails"]


@dataclass(frozen=True)
class KnownPair:
    """An answer whose right `verdicts` are known.

    `record` is what a judge reads of it; `turned` is the same with the options, and their letters, in the opposite
    order.
    """

    kind: str
    record: Mapping[str, Any]
    turned: Mapping[str, Any]
    verdicts: tuple[JudgeVerdict, ...]

    @property
    def yes(self) -> bool:
        """Whether yes is the right verdict: the only one that scores."""
        return "yes" in self.verdicts


@dataclass(frozen=True)
class Examined:
    """A known pair and what the judge said of it, in the order of its prompt and in the turned one.

    None where the judge was not asked, because its server failed before.
    """

    pair: KnownPair
    own: Judgement | None
    turned: Judgement | None

    @property
    def verdict(self) -> JudgeVerdict | None:
        """The verdict in the order of the prompt."""
        return self.own.verdict if self.own else None

    @property
    def turned_verdict(self) -> JudgeVerdict | None:
        """The verdict in the turned order."""
        return self.turned.verdict if self.turned else None

    @property
    def is_injection(self) -> bool:
        """Whether the answer is wrong and tells the judge what to say."""
        return self.pair.kind == INJECTION

    @property
    def agrees(self) -> bool:
        """Whether the verdict in the order of the prompt is a right one."""
        return self.verdict in self.pair.verdicts


@dataclass(frozen=True)
class Examination:
    """What was found. `text` says it in sentences, `remedy` what can be done; it is empty if the level is ok.

    Counts and estimates are over all pairs; a missing verdict agrees with none. Those without `turned` are of the order
    of the prompt. `agreement` is a share with its interval. `wrongly_yes` counts pairs of `no_pairs` (no or cannot tell
    is right), which raises scores; `wrongly_no` counts pairs of `yes_pairs` that got no or cannot tell, which lowers
    them. `direction_p` is the exact sign test of these two against each other. `accepted_injections` counts pairs with
    yes in either order. `said` counts verdicts by order. `changed` counts (verdict, turned verdict) where they differ,
    of `compared` pairs with both. `yes_shift` is the share of yes in the turned order minus that in the prompt's, over
    these pairs. `unusable` counts replies without a verdict, of `replies`. `missed_plain` are the plain test questions
    that it missed. `seconds` are per reply, with all that were in flight. `error` is the server's, if it ended the
    examination.
    """

    model: str
    served_as: str
    level: Level
    text: tuple[str, ...]
    remedy: str
    pairs: tuple[Examined, ...]
    agreement: Estimate
    turned_agreement: Estimate
    wrongly_yes: int
    no_pairs: int
    wrongly_no: int
    yes_pairs: int
    direction_p: float
    accepted_injections: int
    injections: int
    said: Mapping[Literal["own", "turned"], Mapping[JudgeVerdict, int]]
    changed: Mapping[tuple[JudgeVerdict, JudgeVerdict], int]
    compared: int
    yes_shift: Estimate
    unusable: int
    replies: int
    missed_plain: tuple[str, ...]
    form_refused: bool
    seconds: float | None
    error: str

    @property
    def changed_share(self) -> float:
        """The share of verdicts that change with the order, 0..1."""
        return sum(self.changed.values()) / max(self.compared, 1)


def examine(judge: Judge, quiet: bool = True) -> Examination:
    """Ask the judge about every known pair in both orders, and the plain test questions.

    A judge that is unfit, and a server that cannot be reached or fails, are results and not errors. Raises SettingError
    for invalid settings.
    """
    prompts = {f"plain {number}": prompt(record) for number, (record, _) in enumerate(PLAIN)}
    for number, pair in enumerate(known_pairs()):
        prompts[f"{number} own"] = prompt(pair.record)
        prompts[f"{number} turned"] = prompt(pair.turned, turned=True)
    judgements: dict[str, Judgement] = {}

    def keep(key: str, judgement: Judgement) -> tuple[str, int]:
        judgements[key] = judgement
        return judgement.reply.error, 0

    form_refused, error, started = False, "", time.monotonic()
    try:
        connection = untested(judge)
        run_loop(
            connection.ask(prompts.items()),
            keep,
            progress(len(prompts), 0, f"judge {judge.model}", quiet, unit="verdicts"),
        )
        form_refused = "response_format" in connection.engine.info.get("server_defaults", ())
    except ModelError as failure:
        error = str(failure)
    served_as = ", ".join(sorted({judgement.reply.model for judgement in judgements.values()} - {""}))
    return _examination(judge.model, served_as, form_refused, judgements, time.monotonic() - started, error)


@cache
def known_pairs() -> tuple[KnownPair, ...]:
    """The pairs of `known_pairs.jsonl`. In an answer there, `{B}` stands for the letter of what is option B."""
    lines = Path(__file__).with_name("known_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(
        KnownPair(
            row["kind"], _lettered(row, row["options"]), _lettered(row, row["options"][::-1]), tuple(row["verdicts"])
        )
        for row in map(json.loads, lines)
    )


def _lettered(row: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """What a judge reads of a row if its options stand in this order, with their letters in references and answer."""
    letter_of = {option: letter for letter, option in lettered_options({"options": options}).items()}
    letters = {letter: letter_of[option] for letter, option in lettered_options(row).items()}
    output = row["output"]
    for letter, new in letters.items():
        output = output.replace(f"{{{letter}}}", new)
    answers = [letters.get(answer, answer) for answer in row["answers"]]
    record = {name: row[name] for name in ("question", "answer_type")}
    return {**record, "options": options, "answers": answers, "output": output}


def _examination(
    model: str, served_as: str, form_refused: bool, judgements: Mapping[str, Judgement], seconds: float, error: str
) -> Examination:
    pairs = tuple(
        Examined(pair, judgements.get(f"{number} own"), judgements.get(f"{number} turned"))
        for number, pair in enumerate(known_pairs())
    )
    own, turned = [one.verdict for one in pairs], [one.turned_verdict for one in pairs]
    both = [one for one in pairs if one.verdict and one.turned_verdict]
    clusters = range(len(pairs))
    # Only yes scores, so a wrong yes is an error upwards, and any other verdict on a yes pair one downwards.
    errors = [(one.verdict == "yes") - one.pair.yes if one.verdict else 0 for one in pairs]
    moves = [(one.verdict, one.turned_verdict) for one in pairs]
    changed = Counter((before, after) for before, after in moves if before and after and before != after)
    found = Examination(
        model=model,
        served_as=served_as,
        level="ok",
        text=(),
        remedy="",
        pairs=pairs,
        agreement=mean_interval([one.agrees for one in pairs], clusters),
        turned_agreement=mean_interval([one.turned_verdict in one.pair.verdicts for one in pairs], clusters),
        wrongly_yes=errors.count(1),
        no_pairs=sum(not one.pair.yes for one in pairs),
        wrongly_no=errors.count(-1),
        yes_pairs=sum(one.pair.yes for one in pairs),
        direction_p=sign_flip_test(errors, clusters),
        accepted_injections=sum("yes" in (one.verdict, one.turned_verdict) for one in pairs if one.is_injection),
        injections=sum(one.is_injection for one in pairs),
        said={"own": Counter(filter(None, own)), "turned": Counter(filter(None, turned))},
        changed=dict(changed.most_common()),
        compared=len(both),
        yes_shift=mean_difference(
            [(one.turned_verdict == "yes") - (one.verdict == "yes") for one in both], range(len(both))
        ),
        unusable=sum(judgement.verdict is None for judgement in judgements.values()),
        replies=len(judgements),
        missed_plain=tuple(
            record["question"]
            for number, (record, expected) in enumerate(PLAIN)
            if (judgement := judgements.get(f"plain {number}")) and judgement.verdict != expected
        ),
        form_refused=form_refused,
        seconds=seconds / len(judgements) if judgements else None,
        error=error,
    )
    level, remedy = _level(found)
    return replace(found, level=level, remedy=remedy, text=tuple(_text(found)))


def _level(found: Examination) -> tuple[Level, str]:
    """The level, and what can be done; see the module."""
    share = found.agreement.estimate or 0.0
    another = "use a larger model that follows instructions as the judge"
    form = " on a server that supports structured outputs (response_format)"
    if found.error:
        return "fails", "Mend what the server says, then examine the judge again."
    if found.unusable == found.replies:
        return "fails", f"No run can be judged with it: {another},{form}."
    if share < FAILS_BELOW or found.missed_plain:
        return "fails", f"Do not judge with it: {another}{form if found.unusable else ''}."
    doubts = share < WARNS_BELOW or found.accepted_injections or found.changed_share > MOST_CHANGED
    if doubts or found.unusable:
        remedy = f"{capital(another)}, or read a result with and without it (gapbench report --without-judge)"
        return "warning", remedy + (f". Serve it{form}." if found.unusable else ".")
    return "ok", ""


def _text(found: Examination) -> Iterable[str]:
    """What was found, a finding a line."""
    if found.error:
        yield found.error
        yield f"It ended the examination after {found.replies} of {2 * len(found.pairs) + len(PLAIN)} replies."
        return
    if found.unusable:
        errors = Counter(
            judgement.reply.error for one in found.pairs for judgement in (one.own, one.turned)
            if judgement and judgement.verdict is None
        )  # fmt: skip
        example = f", most often: {errors.most_common(1)[0][0]}" if errors else "."
        yield f"{found.unusable} of {found.replies} replies are no verdict{example}"
    if found.form_refused:
        yield "The server refuses structured outputs (response_format), so only the prompt asks for the form."
    if found.unusable == found.replies:
        return
    total = len(found.pairs)
    yield (
        f"It agrees with the known verdict on {sum(one.agrees for one in found.pairs)} of {total} pairs: "
        f"{_share(found.agreement)}; with the order turned around, {_share(found.turned_agreement)}."
    )
    yield _errors(found)
    said = found.said["own"]
    if len(said) == 1:
        yield f"It says {next(iter(said))} to every pair that it gives a verdict on."
    if missed := Counter(one.pair.kind for one in found.pairs if not one.agrees):
        yield f"Missed most: {listed((f'{kind} ({count})' for kind, count in missed.most_common()), 5)}."
    if found.missed_plain:
        yield (
            f"It misses {len(found.missed_plain)} of {len(PLAIN)} plain test questions, so no run can use it: "
            f"{' '.join(found.missed_plain)}"
        )
    yield (
        f"It accepts {found.accepted_injections} of {found.injections} wrong answers that tell the judge what to say."
    )
    yield _order(found)
    if found.seconds is not None:
        yield f"A verdict takes {found.seconds:.2g} s, with as many in flight as the server takes."


def _share(estimate: Estimate) -> str:
    return f"{percent_in_words(estimate.estimate)} {interval(estimate.ci)}".strip()


def _errors(found: Examination) -> str:
    """The errors that move a score, and whether they go one way."""
    text = (
        f"Wrongly yes, which raises scores: {found.wrongly_yes} of {found.no_pairs}. "
        f"Wrongly no or cannot tell, which lowers them: {found.wrongly_no} of {found.yes_pairs}."
    )
    if found.direction_p > 1 - LEVEL:
        return text
    way = "raises" if found.wrongly_yes > found.wrongly_no else "lowers"
    return f"{text} This is no even error: it {way} scores (sign test, {p_in_words(found.direction_p)})."


def _order(found: Examination) -> str:
    """How the verdicts change with the order."""
    count = sum(found.changed.values())
    text = f"With the order turned around, {count} of {found.compared} verdicts change"
    if not count:
        return f"{text}."
    moves = listed((f"{before} to {after} {times}" for (before, after), times in found.changed.items()), 6)
    text += f" ({moves}); yes comes {found.said['own']['yes']} and {found.said['turned']['yes']} times"
    p = found.yes_shift.p_value
    if p is None or p > 1 - LEVEL:
        return f"{text}."
    return f"{text}, which the order decides (sign test, {p_in_words(p)})."
