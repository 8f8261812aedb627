"""From raw output to plain text."""

# ruff: noqa: RUF001  (full-width characters are what some models write)

from __future__ import annotations

import pytest

from gapbench.scoring.clean import CLOSE, OPEN, clean, fold, plain


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("**Answer:**  red\r\n\r\ncar ", "Answer: red\ncar"),
        ("# Answer\n> red", "Answer\nred"),
        ("**D**", "(D)"),
        (r"\boxed{\text{\textbf{B}}}", f"{OPEN}B{CLOSE}"),
        (r"\boxed{B", f"{OPEN}B{CLOSE}"),
        ("<answer>B</answer><|im_end|>", f"{OPEN}B{CLOSE}"),
        (r"$\frac{1}{2}$", "1/2"),
        ("$5 and $6", "$5 and $6"),
        (r"50\%", "50%"),
        ("5*3", "5*3"),
        ("snake_case", "snake_case"),
        ("*", "*"),
        ("~~A~~ B", "B"),
        ("~~A~~", "~~A~~"),
        ("❌ A\n✅ B", "B"),
        ("- [ ] A\n- [x] B", "B"),
        ("❌ No", "❌ No"),
        ("✅ B", "B"),
        (r"$60^\circ$ and 60^{\circ}", "60° and 60°"),
        ("<ref>a mug</ref><box>(412,310),(498,420)</box>", "a mug"),
        ('<points x1="12.1" y1="40.2" alt="boats">boats</points>', "boats"),
        ("<box>B</box>", "<box>B</box>"),
    ],
)
def test_mark_up_is_undone(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


def test_typography_is_undone() -> None:
    assert fold("（Ｂ）：\u201cx\u201d\u00a0𝐁 \u202e10² 1½") == '(B):"x" B 10^2 1 1/2'


def test_forged_marks_are_removed() -> None:
    assert plain(clean(f"{OPEN}B{CLOSE} A")) == "B A"
    assert OPEN not in clean(f"{OPEN}B{CLOSE}")
