"""Inline SVG: reproducible, in the colours of the page, and safe for any category name."""

from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree

import pytest

from gapbench.report.plots import Bin, Effect, area_plot, forest_plot

EFFECTS = [
    Effect("signs", 0.21, (0.15, 0.27), 400),
    Effect("stop", 0.3, (0.1, 0.5), 40, part=True),
    Effect("none", None, None),
]
BINS = [
    Bin(0.0, 0.001, 40, (0.3, (0.2, 0.4)), (0.9, (0.8, 1.0)), (0.6, (0.5, 0.7))),
    Bin(0.001, 0.01, 60, (0.5, None), (0.5, (0.4, 0.6)), (0.0, (-0.1, 0.1))),
    Bin(0.01, 0.1, 0, (None, None), (None, None), (None, None)),
]


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 (our own plot)


def words(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_forest_plot_names_every_row_with_its_numbers() -> None:
    texts = words(forest_plot(EFFECTS, name="gaps"))
    assert {"signs", "n = 400", "+21.0", "[+15.0, +27.0]", "stop", "none", "no paired samples"} <= set(texts)


def test_area_plot_names_its_curves_and_skips_empty_bins() -> None:
    texts = words(area_plot(BINS, name="area", label="signs"))
    assert {"full", "crop", "gap", "40", "60"} <= set(texts)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert forest_plot(EFFECTS, name="gaps") == forest_plot(EFFECTS, name="gaps")
    assert area_plot(BINS, name="area", label="x") == area_plot(BINS, name="area", label="x")


def test_plots_follow_the_page_and_share_it() -> None:
    svg = forest_plot(EFFECTS, name="gaps") + area_plot(BINS, name="area", label="x")
    assert not re.search(r"#[0-9a-f]{6}\b", svg), "a colour that does not follow dark mode"
    assert "<style" not in svg
    assert "DejaVu" not in svg
    ids = re.findall(r'\sid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= set(ids)


@pytest.mark.parametrize(
    "label",
    [
        "$x^2$",
        "$\\frac{$",
        "</text><script>alert(1)</script>",
        "a & b",
        "\x00\x1b",
        "\ud800",
        "中文",
        "fill: #010101",
        "]]>",
        "`|x|\n\n# H",
    ],
)
def test_a_label_is_only_ever_text(label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = forest_plot([Effect(label, 0.1, (0.0, 0.2), 5)], name="gaps")
    root = parsed(svg)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    expected = {"\x00\x1b": "␀␛", "\ud800": "\ufffd", "`|x|\n\n# H": "`|x| # H"}.get(label, label)
    assert expected in words(svg)
