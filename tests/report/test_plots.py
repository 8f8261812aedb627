"""Inline SVG: reproducible, in the colours of the page, and safe for any category name."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gapbench.analysis.psychometric import FittedCurve
from gapbench.report.plots import (
    AREA_AXIS,
    COLUMN,
    TOKEN_AXIS,
    Bin,
    Dumbbell,
    Effect,
    _line_width,
    area_plot,
    bin_series,
    draw_sizes,
    drawing,
    dumbbell_plot,
    forest_plot,
    narrow_forest_plot,
    save,
)

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


def borders(svg: str) -> dict[str, tuple[float, float]]:
    """Left and right border of each text, in points, in a font as wide as DejaVu Sans."""
    found = {}
    for element in parsed(svg).iter("{http://www.w3.org/2000/svg}text"):
        text, style = element.text or "", dict(part.split(": ") for part in element.attrib["style"].split("; "))
        weight = "bold" if style.get("font-weight") == "700" else "normal"
        width = 72 * _line_width(text, float(style["font-size"][:-2]), weight)
        left = float(element.attrib["x"]) - {"start": 0, "middle": 0.5, "end": 1}[style["text-anchor"]] * width
        found[text] = (left, left + width)
    return found


@pytest.mark.parametrize("name", ["signs:orientation=upright," * 6, "W" * 150, "漢字" * 75])
@pytest.mark.parametrize("part", [False, True])
def test_a_long_name_is_cut_before_the_numbers_beside_it(name: str, part: bool) -> None:
    effect = Effect(name, -0.5, (-1.0, 1.0), 12345, part=part)
    for plot, after in ((forest_plot, "n = 12,345"), (narrow_forest_plot, "\u221250.0 [\u2212100.0, +100.0]")):
        texts = borders(plot([effect], name="g"))
        (label,) = (text for text in texts if text[:4] == name[:4])
        assert len(label.partition("…")[0]) >= 6
        assert 0 <= texts[label][0] < texts[label][1] < texts[after][0]


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
        "</text><script>f()</script>",
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


def test_a_fitted_curve_has_a_band_in_the_colour_of_its_view() -> None:
    fit = FittedCurve((0.0005, 0.005), (0.3, 0.5), (0.2, 0.4), (0.4, 0.6))
    plain, curved = (area_plot(BINS, name="area", label="x", fits=fits) for fits in ({}, {"full": fit}))
    assert "fill: var(--full); fill-opacity: 0.13" not in plain
    assert re.search(r"fill: var\(--full\); fill-opacity: 0\.13|opacity: 0\.13", curved)
    assert "%" not in [text for text in words(area_plot(BINS, name="t", label="x", axis=TOKEN_AXIS)) if text[:1] == "1"]


def test_a_dumbbell_says_both_levels() -> None:
    groups = [Dumbbell("a <b>", 40, (0.25, (0.1, 0.4)), (0.75, None)), Dumbbell("none", 0, (None, None), (None, None))]
    texts = words(dumbbell_plot(groups, name="categories"))
    assert {"a <b>, n = 40", "25.0% → 75.0%", "none, n = 0", "\u2013 → \u2013"} <= set(texts)


def test_files_have_the_colours_of_print_and_the_width_of_a_column(tmp_path: Path) -> None:
    with drawing(COLUMN, 3.4, 8) as figure:
        draw_sizes(figure, *bin_series(BINS, {}), AREA_AXIS, [one.n for one in BINS])
        save(figure, tmp_path / "signs-area")
    svg = (tmp_path / "signs-area.svg").read_text()
    assert not re.findall(r"#0[1-6]0[1-6]0[1-6]", svg), "no placeholder is left"
    assert "#b45309" in svg
    assert 'width="252pt"' in svg
    assert (tmp_path / "signs-area.pdf").read_bytes().startswith(b"%PDF")
