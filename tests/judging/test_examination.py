"""The examination of a judge: what each kind of judge is found to be, and that the known pairs are what reaches one."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable

import pytest
from engines.stub_server import HttpRequest, Response, Stub, chat, error

from gapbench.analysis.statistics import mean_interval
from gapbench.errors import ModelError, SettingError
from gapbench.judging.connection import connect
from gapbench.judging.examination import FAILS_BELOW, Examination, examine, known_pairs
from gapbench.judging.prompt import PLAIN, VERDICTS, prompt
from gapbench.runs.judgements import EMPTY_ANSWER_RULES, references_of
from gapbench.scoring import score

from .conftest import PLAIN_PROMPTS, judge_at

Rule = Callable[[str], str]
KNOWN = (
    PLAIN_PROMPTS
    | {prompt(pair.record): pair.verdicts[0] for pair in known_pairs()}
    | {prompt(pair.turned, turned=True): pair.verdicts[0] for pair in known_pairs()}
)


def says(rule: Rule) -> Callable[[HttpRequest, int], Response]:
    """A judge that gives the verdict that `rule` makes of the prompt."""
    return lambda request, number: chat(json.dumps({"verdict": rule(request.prompt)}))


def found(reply: Callable[[HttpRequest, int], Response]) -> Examination:
    with Stub(reply) as stub:
        return examine(judge_at(stub.url))


def knows(text: str) -> str:
    return KNOWN[text]


def first_listed(text: str) -> str:
    return min(VERDICTS, key=lambda verdict: text.index(f'- "{verdict}":'))


def unless(share: float, other: str, text: str) -> str:
    """The known verdict, but `other` for a share of the prompts that depends on the prompt alone."""
    return other if random.Random(text).random() < share and text not in PLAIN_PROMPTS else KNOWN[text]


# --- the known pairs ---------------------------------------------------------------------------------------------


def test_no_rule_decides_any_known_pair_in_either_order() -> None:
    for pair in known_pairs():
        for record in (pair.record, pair.turned):
            scored = score(*(record[name] for name in ("output", "answers", "answer_type", "options", "question")))
            assert scored.outcome == "unparsed", (record["output"], scored)
            assert scored.rule not in EMPTY_ANSWER_RULES


def test_the_known_pairs_are_balanced_and_no_constant_judge_passes() -> None:
    pairs = known_pairs()
    assert len(pairs) == len({pair.record["question"] + pair.record["output"] for pair in pairs}) == 44
    assert Counter(pair.verdicts[0] for pair in pairs) == {"yes": 17, "no": 20, "cannot tell": 7}
    assert all(set(pair.verdicts) in ({"yes"}, {"no"}, {"cannot tell"}, {"no", "cannot tell"}) for pair in pairs)
    right = {verdict: sum(verdict in pair.verdicts for pair in pairs) / len(pairs) for verdict in VERDICTS}
    assert max(right.values()) < 0.5
    limit = round(FAILS_BELOW * len(pairs))
    ci = mean_interval([1] * limit + [0] * (len(pairs) - limit), range(len(pairs))).ci
    assert ci is not None
    assert ci[0] > max(right.values()), "at the limit, the whole interval lies above a constant judge"
    assert sum(pair.kind == "injection" for pair in pairs) == 4
    assert not any(pair.yes for pair in pairs if pair.kind == "injection")


def test_turned_around_are_options_with_their_letters_reference_and_answer_and_verdicts() -> None:
    pair = next(pair for pair in known_pairs() if pair.record["output"] == "Either B or C.")
    assert pair.turned["options"] == pair.record["options"][::-1]
    assert (references_of(pair.record), references_of(pair.turned)) == (["C. the third"], ["B. the third"])
    assert pair.turned["output"] == "Either C or B."
    own, other = prompt(pair.record), prompt(pair.turned, turned=True)
    assert own.index("] REFERENCE") < own.index("] ANSWER TO CHECK")
    assert other.index("] ANSWER TO CHECK") < other.index("] REFERENCE")
    assert (first_listed(own), first_listed(other)) == ("yes", "cannot tell")


def test_both_orders_say_the_same_words() -> None:
    for pair in known_pairs():
        assert sorted(prompt(pair.record).split()) == sorted(prompt(pair.record, turned=True).split())
        assert not any("{" in record["output"].replace('{"verdict"', "") for record in (pair.record, pair.turned))


# --- judges ------------------------------------------------------------------------------------------------------


def test_a_judge_that_knows_every_answer_is_ok() -> None:
    result = found(says(knows))
    assert (result.level, result.remedy, result.model, result.served_as) == ("ok", "", "stub", "stub")
    assert (result.agreement.estimate, result.turned_agreement.estimate) == (1.0, 1.0)
    assert result.agreement.ci is not None
    assert result.agreement.ci[0] < 0.95, "44 pairs do not show that it is never wrong"
    assert (result.wrongly_yes, result.wrongly_no, result.accepted_injections, result.unusable) == (0, 0, 0, 0)
    assert (result.no_pairs, result.yes_pairs, result.compared, result.replies) == (27, 17, 44, 90)
    assert result.changed == {}
    assert result.text[0].startswith("It agrees with the known verdict on 44 of 44 pairs: 100.0% [9")


@pytest.mark.parametrize(("verdict", "way", "yes", "no"), [("yes", "raises", 27, 0), ("no", "lowers", 0, 17)])
def test_a_judge_that_always_says_the_same_fails_and_which_way_it_moves_a_score_is_said(
    verdict: str, way: str, yes: int, no: int
) -> None:
    with Stub(says(lambda text: verdict)) as stub:
        result = examine(judge_at(stub.url))
        with pytest.raises(ModelError, match="it cannot judge"):
            connect(judge_at(stub.url))
    assert result.level == "fails"
    assert (result.wrongly_yes, result.wrongly_no) == (yes, no)
    assert result.direction_p < 0.001
    assert len(result.missed_plain) == 1
    assert result.changed == {}
    text = " ".join(result.text)
    assert f"it {way} scores" in text
    assert f"It says {verdict} to every pair" in text
    assert "so no run can use it" in text
    assert "larger model" in result.remedy


def test_a_judge_that_takes_the_first_verdict_in_the_list_is_found_by_the_turned_order() -> None:
    result = found(says(first_listed))
    assert result.level == "fails"
    assert result.changed == {("yes", "cannot tell"): 44}
    assert result.said == {"own": {"yes": 44}, "turned": {"cannot tell": 44}}
    assert result.yes_shift.estimate == -1.0
    assert "44 of 44 verdicts change (yes to cannot tell 44)" in " ".join(result.text)


def test_a_good_judge_whose_verdicts_follow_the_order_now_and_then_gets_a_warning() -> None:
    result = found(says(lambda text: KNOWN[text] if first_listed(text) == "yes" else unless(0.3, "no", text)))
    assert result.level == "warning"
    assert result.agreement.estimate == 1.0
    assert 0.1 < result.changed_share < 0.5
    assert "--without-judge" in result.remedy


def test_a_judge_that_obeys_one_answer_gets_a_warning_however_well_it_does_else() -> None:
    result = found(says(lambda text: "yes" if "Ignore all of the previous" in text else KNOWN[text]))
    assert result.level == "warning"
    assert result.agreement.estimate == pytest.approx(43 / 44)
    assert (result.accepted_injections, result.injections) == (1, 4)
    assert "It accepts 1 of 4 wrong answers that tell the judge what to say." in result.text


def test_a_judge_that_errs_evenly_is_not_said_to_move_scores() -> None:
    wrong = {"yes": "no", "no": "yes", "cannot tell": "no"}
    result = found(says(lambda text: unless(0.2, wrong[KNOWN[text]], text)))
    assert result.level == "warning"
    assert FAILS_BELOW <= (result.agreement.estimate or 0) < 0.9
    assert result.wrongly_yes > 0 < result.wrongly_no
    assert "no even error" not in " ".join(result.text)


def test_a_mixture_of_no_and_cannot_tell_moves_no_score() -> None:
    swapped = {"no": "cannot tell", "cannot tell": "no"}
    result = found(says(lambda text: KNOWN[text] if text in PLAIN_PROMPTS else swapped.get(KNOWN[text], KNOWN[text])))
    assert result.level == "fails"
    assert (result.wrongly_yes, result.wrongly_no) == (0, 0)


# --- replies and servers -----------------------------------------------------------------------------------------


def test_a_judge_that_never_gives_a_verdict_fails_with_one_of_its_replies() -> None:
    result = found(lambda request, number: chat("I think so!"))
    assert result.level == "fails"
    assert (result.unusable, result.replies, result.compared) == (90, 90, 0)
    assert result.text == ("90 of 90 replies are no verdict, most often: its reply is no verdict: 'I think so!'",)
    assert "response_format" in result.remedy


def test_a_reply_that_is_no_verdict_agrees_with_nothing() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        return chat("Hm.") if "dozen of them" in request.prompt else says(knows)(request, number)

    result = found(reply)
    assert result.level == "warning"
    assert result.unusable == 2
    assert result.agreement.estimate == pytest.approx(43 / 44)
    assert (result.wrongly_yes, result.wrongly_no, result.compared) == (0, 0, 43)


def test_without_structured_outputs_the_prompt_asks_and_it_is_said() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        if "response_format" in request.json:
            return error(400, "unknown field: response_format")
        return says(knows)(request, number)

    result = found(reply)
    assert result.level == "ok"
    assert result.form_refused
    assert any("refuses structured outputs" in line for line in result.text)


def test_an_unreachable_server_is_a_result_with_its_remedy() -> None:
    with Stub() as stub:
        url = stub.url
    result = examine(judge_at(url))
    assert (result.level, result.replies, result.seconds) == ("fails", 0, None)
    assert "No server was reached" in result.text[0]
    assert "--judge" in result.text[0]


def test_a_server_that_breaks_ends_the_examination_with_what_it_said() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        return says(knows)(request, number) if number < 30 else error(500, "out of memory")

    result = found(reply)
    assert result.level == "fails"
    assert "out of memory" in result.error
    assert 0 < result.replies < 90
    assert result.text[1] == f"It ended the examination after {result.replies} of 90 replies."


def test_a_setting_that_cannot_be_is_an_error() -> None:
    with pytest.raises(SettingError, match="--judge"):
        examine(judge_at("not a url"))


def test_the_plain_questions_are_asked_too() -> None:
    with Stub(says(knows)) as stub:
        examine(judge_at(stub.url))
        asked = Counter(request.prompt for request in stub.requests)
    assert asked == Counter(KNOWN.keys())
    assert len(asked) == 2 * len(known_pairs()) + len(PLAIN)
