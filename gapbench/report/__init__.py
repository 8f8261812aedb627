"""One self-contained report of one run: `report.html` to look at, `report.md` to paste.

    from gapbench.report.run.page import write_report
    write_report(folder, summary=summary, manifest=manifest, records=frame)

The report reads records and their summary, never a model or a benchmark. Everything in it that a model or a data set
wrote is escaped. The HTML file needs no network, no server and, for its tables and sample cards, no JavaScript; it
stays under 20 MB for a run of any size by showing a stratified choice of samples and saying what it left out.

`text`, `tables`, `plots` and `jinja` serve every page; `run/` and `comparison/` hold the pages.
"""
