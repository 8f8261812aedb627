"""Tables as LaTeX for a paper: `tabular` with the rules of the package booktabs, which must be loaded.

    latex_table(table)              # a gapbench.report.tables.Table
    latex_text("50% of $x_1$")      # 50\\% of \\$x\\_1\\$

Every text is escaped: names and categories come from models and data sets. What pdfLaTeX has no glyph for, such as
Chinese, becomes its code point (`U+4E2D`).
"""

from __future__ import annotations

from gapbench.report.cells import Cell
from gapbench.report.tables import Table
from gapbench.util.text import printable

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "{''}", "\u2212": "$-$", "\u2013": "--", "\u2014": "---",
    "\u2026": r"\ldots{}",
    "\u00d7": r"$\times$", "\u2192": r"$\rightarrow$", "\u00b7": r"$\cdot$", "\u2018": "`", "\u2019": "'",
    "\u201c": "``", "\u201d": "''", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", "-": "{-}",
    "[": "{[}", "]": "{]}",
}  # fmt: skip
"""Brackets and hyphens stand in braces: after a line break a bracket would be an argument, and two hyphens a dash."""
_LETTERS = frozenset(map(chr, range(0xC0, 0x100))) - set("\u00d0\u00d7\u00de\u00f0\u00f7\u00fe")
"""Letters outside ASCII that LaTeX sets with any of its font encodings."""


def latex_text(value: object) -> str:
    """Untrusted text in LaTeX, on one line."""
    return "".join(_character(character) for character in " ".join(printable(value).split()))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    return character if " " <= character <= "~" or character in _LETTERS else f"U+{ord(character):04X}"


def latex_table(table: Table) -> str:
    """The table, with the notes of its cells in small print beside them."""
    layout = "".join("r" if column.numeric else "l" for column in table.columns)
    head = " & ".join(latex_text(column.title) for column in table.columns)
    parts = [[*map(_line, table.rows)], [*map(_line, table.footer)]]
    body = "\n\\midrule\n".join("\n".join(lines) for lines in parts if lines)
    return (
        f"% {latex_text(table.caption)}. Needs \\usepackage{{booktabs,textcomp}}\n"
        f"\\begin{{tabular}}{{{layout}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def _line(row: tuple[Cell, ...]) -> str:
    cells = (
        latex_text(cell.text) + (f" {{\\footnotesize {latex_text(cell.note)}}}" if cell.note else "") for cell in row
    )
    return " & ".join(cells) + r" \\"
