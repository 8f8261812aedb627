"""What each official rule says of an answer. Expected values were worked out from the authors' scripts, which
`Official.source` names; functions agree with the scripts on 4,043 outputs of real models and of `tests/scoring`, up to
Unicode folding in `vicrop`."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapbench import scoring
from gapbench.data.catalogue import load, names
from gapbench.errors import SettingError
from gapbench.scoring.official import OFFICIAL, find

COLOURS = ("red", "blue", "green", "grey", "not shown")
YES, NO = ("yes",), ("no",)


@pytest.mark.parametrize(
    ("output", "answers", "expected"),
    [
        ("Yes, there is.", YES, 1.0),
        ("No, there is not.", NO, 1.0),
        ("There is no dog.", NO, 1.0),
        ("There is a cat. It is not a dog.", NO, 0.0),  # only the first sentence is read
        ("NO", NO, 0.0),  # "No", "no" and "not" only
        ("no\nreally", NO, 0.0),  # words are split at spaces alone
        ("I cannot tell.", YES, 1.0),
        ("", YES, 1.0),
    ],
)
def test_pope_takes_whatever_is_no_no_for_a_yes(output: str, answers: tuple[str, ...], expected: float) -> None:
    assert OFFICIAL["pope"].score(output, answers, ()) == expected


@pytest.mark.parametrize(
    ("output", "answer", "expected"),
    [
        ("B", "B", 1.0),
        ("(B) blue", "B", 1.0),
        ("The best answer is B", "B", 1.0),
        ("The answer is Blue", "B", 1.0),  # any capital from A to E
        ("Best answer: A", "A", 0.0),  # a missing comma in the list of prefixes: the B of "Best" is read
        ("Best answer: A", "B", 1.0),
        ("A dog is on the sofa", "A", 1.0),
        ("blue", "B", 1.0),  # no capital: the first option that contains the output
        ("re", "A", 1.0),
        ("", "A", 1.0),  # which the empty text is, too
        ("yellow", "A", None),
        ("it is the one that stands in front of the small wooden house", "A", None),
    ],
)
def test_mme_realworld_takes_the_first_capital(output: str, answer: str, expected: float | None) -> None:
    assert OFFICIAL["mme-realworld"].score(output, [answer], COLOURS) == expected


@pytest.mark.parametrize(
    ("output", "answer", "expected"),
    [
        ("B", "B", 1.0),
        ("(b) blue", "B", 1.0),
        ("Option B", "B", 1.0),
        ("The answer is B.", "B", 1.0),
        ("The answer is (B).", "B", 0.0),
        ("Answer: B", "A", 1.0),  # the A of "Answer"
        ("A man stands there.", "A", 1.0),
        ("**B**", "B", 0.0),
        ("", "A", 0.0),
    ],
)
def test_mmstar_compares_how_the_output_begins(output: str, answer: str, expected: float) -> None:
    assert OFFICIAL["mmstar"].score(output, [answer], COLOURS) == expected


@pytest.mark.parametrize(
    ("output", "answer", "expected"),
    [
        ("(B)", "B", 1.0),
        ("b. blue", "B", 1.0),
        ("I see red, so the answer is (B)", "B", 1.0),
        ("Answer: B", "B", 1.0),
        ("The answer is: B", "B", 0.0),  # what follows "answer is" begins with the colon
        ("The answer is blue", "B", 1.0),  # its first character
        ("**B**", "B", 0.0),
    ],
)
def test_cv_bench_takes_one_character(output: str, answer: str, expected: float) -> None:
    assert OFFICIAL["cv-bench"].score(output, [answer], COLOURS) == expected


@pytest.mark.parametrize(
    ("output", "answer", "expected"),
    [("(b)", "B", 1.0), ("Blue.", "B", 1.0), ("The answer is b,", "B", 1.0), ("(b) blue", "B", 0.0), ("a", "B", 0.0)],
)
def test_mmvp_wants_the_letter_or_the_option_and_nothing_else(output: str, answer: str, expected: float) -> None:
    assert OFFICIAL["mmvp"].score(output, [answer], COLOURS) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("b", 1.0),
        ("<think>A?</think><answer> B </answer>", 1.0),
        ("I see <answer>b</answer>", 1.0),
        ("B.", 0.0),
        ("The answer is B", 0.0),
        ("<answer>B. blue</answer>", 0.0),
    ],
)
def test_treebench_wants_a_bare_letter_between_tags(output: str, expected: float) -> None:
    assert OFFICIAL["treebench"].score(output, ["B"], COLOURS) == expected


@pytest.mark.parametrize(
    ("output", "expected"), [("STOP", 0.6), ("the stop!", 0.6), ("halt", 1.0), ("The sign says stop.", 0.0)]
)
def test_vicrop_counts_references_that_equal_the_whole_output(output: str, expected: float) -> None:
    assert OFFICIAL["vicrop"].score(output, ["stop"] * 2 + ["halt"] * 8, ()) == pytest.approx(expected)


def test_every_rule_of_the_catalogue_is_known_and_every_known_rule_is_used() -> None:
    assert {load(name).card.official for name in names()} - {""} == set(OFFICIAL)


def test_the_page_names_every_rule_with_its_script() -> None:
    page = (Path(__file__).parents[2] / "docs" / "every-rule.md").read_text(encoding="utf-8").replace("`", "")
    for name, rule in OFFICIAL.items():
        assert f"| {name} |" in page
        assert rule.source.partition(" @ ")[0] in page


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"no official rule 'popes'\. Known are cv-bench, mme-realworld"):
        find("popes")


def test_each_rule_of_gapbench_reads_infers_or_leaves_unparsed() -> None:
    rows = [line.split("|")[1:3] for line in (scoring.__doc__ or "").splitlines() if line.startswith("| ")][1:]
    decided = {name.strip() for row, what in rows for name in row.split(",") if not what.startswith(" unparsed")}
    explicit = decided - scoring.INFERRED - {"judge"}
    assert decided > scoring.INFERRED
    assert {name.rpartition("-")[2] for name in explicit} == {"statement", "bare", "lead", "exact", "vqa", "anls"}
