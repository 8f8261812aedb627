"""The peer script undoes what copies of annotation files did to their options, and gives each name its own image."""

from __future__ import annotations

import pytest
from real_annotations import blank, lettered


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("A.27B\nB.37B", ["27B", "37B"]),
        ("(A) wool\n(B) tin", ["wool", "tin"]),
        ("A. Bright gold  B. Matte black \nC. Green \nD. White ", ["Bright gold", "Matte black", "Green", "White"]),
        ("A Cast iron \nB Polished copper\n C Stone", ["Cast iron", "Polished copper", "Stone"]),
        ("A. Signed by J. Doe\nB. Blank", ["Signed by J. Doe", "Blank"]),
    ],
)
def test_options_are_found_however_they_are_written(text: str, options: list[str]) -> None:
    assert lettered(text) == options


def test_each_name_has_its_own_image() -> None:
    assert blank("a") == blank("a") != blank("b")
