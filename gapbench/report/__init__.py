"""One self-contained report of one run: `report.html` to look at, `report.md` to paste.

    from gapbench.report.run.page import write_report
    write_report(folder, summary=summary, manifest=manifest, records=frame)

The report reads records and their summary, never a model or a benchmark. It escapes every text from a model or a data
set. The HTML file needs no network and no server; its tables and sample cards need no JavaScript. It stays under 20 MB
for a run of any size: a large run has cards for a stratified selection of its samples, and the page gives the number of
samples without a card.

`escape`, `families`, `tables`, `plots` and `jinja` serve every page; `run/` and `comparison/` hold the pages.
"""
