"""One self-contained report of one run: `report.html` to look at, `report.md` to paste.

    from gapbench.report.run.page import write_report
    write_report(folder, summary=summary, manifest=manifest, records=frame)

The report reads records and their summary, never a model or a benchmark. It escapes every text from a model or a data
set. The HTML file needs no network and no server; its tables and sample cards need no JavaScript. It stays under 20 MB
for a run of any size, unless cards of all samples are asked for: a large run has cards for a stratified selection, in
which every cell of the flip matrix has its share, and the page gives the number of samples without a card.

`escape`, `families`, `tables`, `plots` and `jinja` serve every page; `run/` and `comparison/` hold the pages.
"""

CARDS = 240
"""Sample cards in the report of a run, and samples of a run whose images are stored."""
