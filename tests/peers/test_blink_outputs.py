"""What the comparison with BLINK's stored outputs takes from its files."""

from __future__ import annotations

import blink_outputs
import pytest


def row(sample: int, output: str, prediction: str, answer: str = "(B)") -> blink_outputs.Row:
    return {"idx": f"val_{sample}", "answer": answer, "full_prediction": output, "prediction": prediction}


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("Not (A) but\n\n(B) it is.", "B"),  # the only label of the last paragraph
        ("Of (A) and (B) I take (A).", ""),  # GPT-3.5 is asked: "(A)." is no word "(A)", but two others are
        ("The second.", ""),
        ("(D) of two", ""),  # no option
    ],
)
def test_the_published_rule_wants_one_label_between_spaces(output: str, letter: str) -> None:
    assert blink_outputs.published_rule(output, "AB") == letter


def test_options_of_counting_are_the_numbers_that_most_answers_put_after_a_letter() -> None:
    rows = [row(1, "(A) 3", "(A)"), row(1, "It is (A) 3, not (B) 4", "(A)"), row(1, "(A) 7", "(A)")]
    assert blink_outputs.counts(rows) == {"val_1": ("3", "4", "", "")}


def test_a_conflict_is_another_letter_by_the_published_rule_and_no_guess_of_gpt() -> None:
    outputs = {
        ("m", "Jigsaw"): [
            row(1, "The second image (B) fits.\n\nSo, the answer is:\n**(A) the second image**", "(B)"),
            row(2, "The second image is the missing part.", "(B)"),
            row(3, "B", "(B)"),
        ]
    }
    readings = list(blink_outputs.read(outputs))
    assert [reading.sample for reading in blink_outputs.conflicts(readings)] == ["val_1"]
    assert [reading.case for reading in readings[1:]] == [
        "read; GPT-3.5 guessed another",
        "read; BLINK's rule read the same",
    ]
    assert blink_outputs.accuracies(readings)["m"] == pytest.approx([100 / 3, 100 / 3, 200 / 3, 200 / 3, 100])


def test_the_accuracy_of_the_stored_readings_compares_texts_as_the_authors_do() -> None:
    readings = list(blink_outputs.read({("m", "Art_Style"): [row(1, "(B) the third image", "(B) the third image")]}))
    assert readings[0].stored == "B"
    assert blink_outputs.accuracies(readings)["m"][-1] == 0
