"""The command line: a thin shell over the Python API.

    gapbench measure glance -b signs --views full,crop --out runs/glance

Exit codes: 0 done, 1 a check failed, 2 cannot run (one paragraph says why; `--debug` shows the traceback),
130 interrupted (answers so far are kept; the same command continues the run).
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from gapbench.cli.flags import (
    BENCHMARK,
    BenchmarksOption,
    DebugOption,
    EngineCommand,
    EngineOption,
    FiguresOption,
    JudgeApiKeyEnvOption,
    JudgeModelOption,
    JudgeUrlOption,
    LabelOption,
    LimitOption,
    MaxNewTokensOption,
    MaxPixelsOption,
    MinPixelsOption,
    ModelArgument,
    NoImagesOption,
    NoSelfcheckOption,
    QuietOption,
    RegionsOption,
    RevisionOption,
    ShardOption,
    TrustRemoteCodeOption,
)
from gapbench.util.terminal import complain, say, say_json
from gapbench.util.text import aligned, redacted
from gapbench.version import VERSION

MEASURE, CLOSE, LOOK, DATA = "Measure", "Close the gap", "Look, compare, export", "Data"
"""Panels of `gapbench --help`."""

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: "tensor-parallel-size" if name == "tensor-parallel" else name,  # as it was
    },
)
benchmarks_app = typer.Typer(help="The catalogue: what can be measured.")
app.add_typer(benchmarks_app, name="benchmarks", rich_help_panel=DATA)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"gapbench {VERSION}", sys.stdout)
        raise typer.Exit


@app.callback()
def main(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Measure, explain and close the regional-to-global perception gap of multimodal models."""
    if ctx.invoked_subcommand is None and (text := ctx.get_help()):  # with rich it has printed itself
        say(text, sys.stdout)


INTERRUPTED = 130
"""The exit code shells use for Ctrl-C."""


def run(application: typer.Typer) -> int:
    """Run the application and return the process's exit code."""
    from gapbench.errors import GapbenchError

    try:
        # typer returns the code of typer.Exit. Ctrl-C is code 130 in one release of typer, and Abort in another.
        code = int(application(prog_name="gapbench", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        usage = getattr(error, "format_message", None)  # click's own complaints about flags and arguments
        if "--debug" in sys.argv and usage is None:
            say(traceback.format_exc())
            return 1
        if isinstance(error, GapbenchError):
            complain(error)
        elif isinstance(error, OSError):
            place = f": {error.filename}" if error.filename else ""
            complain(f"{error.strerror or error}{place}. Check the path, its permissions and the disk's free space.")
        elif usage is not None:
            complain(f"{usage()} See gapbench --help.")
        else:
            complain(
                f"unexpected {type(error).__name__}: {error}. This is a bug in gapbench; --debug shows where. "
                "Answers so far are kept."
            )
        return 2
    if code == INTERRUPTED:
        kept = "Answers and checkpoints so far are kept; run the same command again to continue (distill: --resume)."
        complain(f"interrupted. {kept if sys.argv[1:2] != ['doctor'] else 'Nothing was written.'}")
    return code


@app.command(cls=EngineCommand, rich_help_panel=MEASURE)
def measure(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="Hub id, local folder, or `glance` (embedded).")] = "",
    benchmarks: Annotated[
        list[str] | None,
        typer.Option("--benchmark", "-b", help=f"{BENCHMARK}; or a suite, such as core@1; repeatable."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; the same command continues it.", show_default="runs/MODEL"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="These options as keys of a file, with `models:` for several models; then a board. Arguments beside "
            "it count for all models.",
        ),
    ] = None,
    views: Annotated[
        str,
        typer.Option(
            help="Comma-separated, mixed freely: standard (full, crop), factorial, cures; or single views, such as "
            "boxed, mask:fill=blur, full_up, full+crop, hide, blind, crop:factor=2."
        ),
    ] = "full,crop",
    limit: LimitOption = None,
    seed: Annotated[int, typer.Option(help="Seed of sampling (with --temperature).")] = 0,
    repeats: Annotated[int, typer.Option(help="Answer every sample K times; shows the noise floor.")] = 1,
    region: Annotated[
        str,
        typer.Option(
            help="native, union, padded[:factor=1.2,min_side=16], square[:min_side=224], multi (an image per evidence "
            "box) or mosaic (the same crops in one image); default: the benchmark's."
        ),
    ] = "",
    regions: RegionsOption = None,
    protocol: Annotated[
        str, typer.Option(help="Prompt and metric: neutral, or from `benchmarks show` (original, vision-opd).")
    ] = "neutral",
    shard: ShardOption = "",
    no_selfcheck: NoSelfcheckOption = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed records and failed verdicts again.")
    ] = False,
    judge: JudgeUrlOption = "",
    judge_model: JudgeModelOption = "",
    judge_api_key_env: JudgeApiKeyEnvOption = "",
    max_new_tokens: MaxNewTokensOption = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    min_pixels: MinPixelsOption = None,
    max_pixels: MaxPixelsOption = None,
    engine: EngineOption = "auto",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure the gap: answer every sample from the full image and from the evidence crop, and compare in pairs."""
    from gapbench.commands.measure import measure as measure_
    from gapbench.errors import SettingError

    if config:
        _sweep(ctx, config, quiet)
        return
    if not model or not benchmarks:
        missing = "MODEL" if not model else "-b BENCHMARK"
        raise SettingError(f"measure: {missing} is missing. Expected gapbench measure MODEL -b BENCHMARK, or --config.")
    values = _arguments(ctx, "no_selfcheck", "judge", "judge_model", "judge_api_key_env", "config")
    chosen_judge = _judge(judge, judge_model, judge_api_key_env)
    run = measure_(**values, selfcheck=not no_selfcheck, judge=chosen_judge)
    _print_result(run)
    measured = [view for entry in run.summary["benchmarks"].values() for view in entry["views"].values()]
    if measured and not any(view["n"] for view in measured):
        raise typer.Exit(1)  # a script must notice that nothing was measured


@app.command(rich_help_panel=MEASURE)
def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Folders of runs: all shards of one run, or several runs."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the merged run.")],
    partial: Annotated[bool, typer.Option("--partial", help="Merge even if shards or answers are missing.")] = False,
    debug: DebugOption = False,
) -> None:
    """Merge shards into the whole run, or runs of one model on different benchmarks or views into one."""
    from gapbench.commands.merge import merge as merge_

    _print_result(merge_(runs, out, partial=partial, command=_command()))


@app.command(cls=EngineCommand, rich_help_panel=MEASURE)
def doctor(
    ctx: typer.Context,
    model: ModelArgument,
    benchmarks: Annotated[
        list[str] | None, typer.Option("--benchmark", "-b", help=f"{BENCHMARK}; repeatable; with --recipe, the data.")
    ] = None,
    views: Annotated[str, typer.Option(help="As for measure.")] = "full,crop",
    limit: LimitOption = None,
    recipe: Annotated[str, typer.Option(help="A recipe of distill, by name or file: what memory training needs.")] = "",
    judge: JudgeUrlOption = "",
    judge_model: JudgeModelOption = "",
    judge_api_key_env: JudgeApiKeyEnvOption = "",
    max_new_tokens: MaxNewTokensOption = None,
    min_pixels: MinPixelsOption = None,
    max_pixels: MaxPixelsOption = None,
    engine: EngineOption = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print the diagnosis as JSON.")] = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Two minutes before two days: model, data, context, memory, downloads, engine, judge. Exit code 1 if one fails."""
    from gapbench.commands.doctor import doctor as doctor_

    values = _arguments(ctx, "json_", "judge", "judge_model", "judge_api_key_env")
    values["benchmarks"] = benchmarks or []
    diagnosis = doctor_(**values, judge=_judge(judge, judge_model, judge_api_key_env))
    if json_:
        say_json(diagnosis.json())
    else:
        say(diagnosis.text(min(120, shutil.get_terminal_size((110, 0)).columns)), sys.stdout)
    if diagnosis.fails:
        raise typer.Exit(1)


@app.command(cls=EngineCommand, rich_help_panel=MEASURE)
def locate(
    ctx: typer.Context,
    model: ModelArgument,
    benchmarks: BenchmarksOption,
    out: Annotated[Path, typer.Option(help="The region file (.jsonl); the same command continues it.")],
    method: Annotated[
        str, typer.Option(help="attention (where the model looks) or grounding (ask it for a box).")
    ] = "attention",
    limit: LimitOption = None,
    margin: Annotated[
        float | None, typer.Option(help="Enlarge boxes by this factor; default: 1.5 for grounding, 1 for attention.")
    ] = None,
    layers: Annotated[
        str, typer.Option(help="attention: layers, counted from 0, such as 22 or 18-22,24; default: the middle layers.")
    ] = "",
    coordinates: Annotated[
        str, typer.Option(help="grounding: the model's coordinates: thousand (0..1000), pixels or unit (0..1).")
    ] = "thousand",
    largest: Annotated[
        float, typer.Option(help="grounding: reject boxes larger than this fraction of the image.")
    ] = 0.8,
    max_new_tokens: MaxNewTokensOption = None,
    min_pixels: MinPixelsOption = None,
    max_pixels: MaxPixelsOption = None,
    engine: EngineOption = "auto",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Let a model find the region of each sample, for benchmarks without boxes. Annotated boxes, if any, check it."""
    from gapbench.commands.locate import locate as locate_

    result = locate_(**_arguments(ctx))
    say(result.text(), sys.stdout)
    say(f"regions: {os.path.relpath(result.path)}", sys.stdout)


@app.command(cls=EngineCommand, rich_help_panel=CLOSE)
def propose(
    ctx: typer.Context,
    images: Annotated[
        str, typer.Argument(help="A folder of images; a file of rows with images; or a benchmark, its images only.")
    ],
    model: Annotated[str, typer.Option(help="Hub id, local folder, or `glance` (embedded).")],
    out: Annotated[Path, typer.Option(help="The training data (.jsonl); the same command continues it.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, as in proposals/thresholds.yaml.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N images.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write an HTML page of rows to look at, kept and rejected.")
    ] = None,
    like: Annotated[
        str, typer.Option(metavar="BENCHMARK", help="Word questions like those of a benchmark; its questions only.")
    ] = "",
    accept_noisy: Annotated[
        bool, typer.Option("--accept-noisy", help="Write the data even if they look wrong.")
    ] = False,
    min_pixels: MinPixelsOption = None,
    max_pixels: MaxPixelsOption = None,
    engine: EngineOption = "auto",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make training data of plain images: the model reads windows, asks, checks itself. Exit code 1 if refused."""
    from gapbench.commands.propose import propose as propose_

    proposed = propose_(**{**_arguments(ctx), "settings": settings or []})
    say(proposed.text(), sys.stdout)
    if sheet:
        say(f"sheet: {os.path.relpath(sheet)}", sys.stdout)
    if proposed.refused:
        complain(f"no data are written: {proposed.refused} --accept-noisy writes them all the same.")
        raise typer.Exit(1)
    say(f"data: {os.path.relpath(proposed.path)}", sys.stdout)


@app.command(rich_help_panel=CLOSE)
def distill(
    ctx: typer.Context,
    model: ModelArgument,
    data: Annotated[str, typer.Option(help=f"Training samples, with evidence boxes or --regions: {BENCHMARK}.")],
    recipe: Annotated[
        str, typer.Option(help="Name (vision-opd, lora-1gpu, demo, opd-aha, s2vopd, …) or a .yaml file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the training, its runs and the comparison.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the recipe, as in its YAML.")
    ] = None,
    eval_: Annotated[
        list[str] | None, typer.Option("--eval", help="Benchmark measured before and after; repeatable.")
    ] = None,
    regions: RegionsOption = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N training samples.")] = None,
    eval_limit: Annotated[int | None, typer.Option(help="Only the first N samples of each --eval.")] = None,
    no_holdout: Annotated[
        bool, typer.Option("--no-holdout", help="Do not measure the hold-outs that are on this machine.")
    ] = False,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; default: the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of order and sampling; default: the recipe's.")] = None,
    seeds: Annotated[int, typer.Option(help="Train so often, with consecutive seeds, each in OUT/seed-N.")] = 1,
    lora: Annotated[bool, typer.Option("--lora", help="Train LoRA adapters and merge them into model/.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    revision: RevisionOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Close the gap: train the model on its own evidence crops (Vision-OPD), measure before and after, compare."""
    from gapbench.commands.distill import distill as distill_

    flags = {"steps": steps, "seed": seed, "lora": lora or None}
    overrides = [*(settings or []), *(f"{key}={value}" for key, value in flags.items() if value is not None)]
    values = _arguments(ctx, "settings", "eval_", "no_holdout", *flags)
    distilled = distill_(**values, eval=eval_ or [], holdout=not no_holdout, overrides=overrides)
    if int(os.environ.get("RANK", "0")) == 0:
        _print_distilled(distilled)


@app.command(rich_help_panel=LOOK)
def compare(
    out: Annotated[Path, typer.Option(help="Folder for comparison.html, .md and .json.")],
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[BEFORE AFTER [MORE]...]", help="Folders of finished runs.")
    ] = None,
    before: Annotated[
        list[Path] | None, typer.Option(help="A run of the first side, in place of BEFORE; repeatable.")
    ] = None,
    after: Annotated[
        list[Path] | None, typer.Option(help="A run of the other side; repeatable: the seeds of one recipe.")
    ] = None,
    label: LabelOption = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", metavar="CONDITION",
            help='Exit code 1 if "METRIC < POINTS" holds: the upper end of the 95% interval of the change (after minus '
            'before, in percentage points) lies below; with >, if its lower end lies above. So "full < -2" fails when '
            "the full accuracy is shown to have fallen by more than 2 points. METRIC: full, crop, gap or lost (in "
            'full). Of any benchmark and run after the first; "NAME: full < -2" of one benchmark. Exit code 2 if it '
            "cannot be evaluated: no such metric, or no interval. Repeatable.",
        ),
    ] = None,
    no_images: NoImagesOption = False,
    figures: FiguresOption = None,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Compare runs on the samples they share: before and after a training, or several seeds of it, or other models."""
    from gapbench.analysis.comparison.gate import judged, parse_gate
    from gapbench.commands.compare import compare as compare_
    from gapbench.errors import SettingError

    if runs and (before or after):
        raise SettingError(f"compare: found {runs[0]} beside --before and --after; expected either.")
    sides = [before or [], after or []] if before or after else runs or []
    if len(sides) < 2:
        raise SettingError(f"compare: found {len(sides)} run; expected at least two, BEFORE and AFTER.")
    gates = [parse_gate(text) for text in fail_if or ()]  # a misspelt one is found before the work
    comparison = compare_(*sides, out=out, images=not no_images, labels=_labels(label), figures=figures)
    _print_result(comparison)
    results, errors = [], []
    for gate in gates:
        try:
            results += judged(gate, comparison.summary)
        except SettingError as error:
            errors.append(error)
    for met, text in results:
        say(f"{'FAIL' if met else 'ok'}: {text}", sys.stdout)
    if errors:
        raise errors[0]
    if any(met for met, _ in results):
        raise typer.Exit(1)


@app.command(rich_help_panel=LOOK)
def export(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN|DIR...", help="Folders of runs, or folders that hold runs.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format", help="csv, parquet or latex (booktabs). Default: by the suffix of --out, .tex for latex."
        ),
    ] = "",
    what: Annotated[
        str, typer.Option(help="results (a row per run and benchmark), pairs (per sample) or records (per answer).")
    ] = "results",
    label: LabelOption = None,
    debug: DebugOption = False,
) -> None:
    """Write the results of runs as a table: for a paper, a spreadsheet or a data frame."""
    from gapbench.commands.export import export as export_

    say(f"table: {os.path.relpath(export_(runs, format_, out, what=what, labels=_labels(label)))}", sys.stdout)


@app.command(rich_help_panel=LOOK)
def board(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN|DIR...", help="Folders of runs, or folders that hold runs.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for board.html, .md, .json and .csv.")],
    baseline: Annotated[
        str, typer.Option(metavar="RUN", help="A run's folder or name: all others are compared with it.")
    ] = "",
    label: LabelOption = None,
    figures: FiguresOption = None,
    debug: DebugOption = False,
) -> None:
    """Put many runs on one board: models by benchmarks, with intervals and the ranks that the data allow."""
    from gapbench.commands.board import board as board_

    made = board_(runs, out, baseline=baseline, labels=_labels(label), figures=figures)
    say(made.summary["verdict"], sys.stdout)
    for one in made.summary["left_out"]:
        where = f" on {one['benchmark']}" if one["benchmark"] else ""
        say(f"left out: {one['run']}{where}: {one['reason']}", sys.stdout)
    say(f"board: {os.path.relpath(made.report)}", sys.stdout)


@app.command("runs", rich_help_panel=LOOK)
def list_runs(
    folders: Annotated[list[Path] | None, typer.Argument(metavar="[DIR]...", help="Default: runs.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
    debug: DebugOption = False,
) -> None:
    """List runs, one a line: model, benchmarks, samples, full, crop, gap, engine, date and state."""
    from gapbench.commands.list_runs import lines
    from gapbench.runs.listing import list_runs as list_runs_

    entries = list_runs_(folders or [Path("runs")])
    if json_:
        say_json(entries)
    else:
        say(lines(entries, shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0), sys.stdout)


@app.command(rich_help_panel=LOOK)
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    no_images: NoImagesOption = False,
    without_judge: Annotated[
        bool, typer.Option("--without-judge", help="Use rules alone; ignore the judge's verdicts.")
    ] = False,
    cards: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Sample cards, shared out over the cells of the flip matrix; all: however large the file.",
        ),
    ] = "",
    figures: FiguresOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="First drop records that lie twice; of each, the earlier one stays.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Rebuild summary.json, report.html and report.md from the run's records."""
    from gapbench.commands.report import repair as repair_
    from gapbench.commands.report import write_results

    if repair:
        say(f"dropped: {repair_(folder):,} records that lay twice", sys.stdout)
    number = _cards(cards)
    run = write_results(folder, images=not no_images, judged=not without_judge, cards=number, figures=figures)
    _print_result(run)


@app.command(rich_help_panel=LOOK)
def power(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A benchmark, or the folder of a run.")] = "",
    n: Annotated[int | None, typer.Option("--n", help="Samples, in place of NAME.")] = None,
    clusters: Annotated[int | None, typer.Option(help="Their clusters, such as images.", show_default="n")] = None,
    discordant: Annotated[
        float | None,
        typer.Option(help="Samples right in one view only, in percent.", show_default="the run's, or 10, 20 and 30"),
    ] = None,
    gap: Annotated[float | None, typer.Option(help="Say how many samples show these points.")] = None,
    debug: DebugOption = False,
) -> None:
    """Which gap, or change of it, so many samples show; or how many samples a gap needs."""
    from gapbench.commands.power import power as power_

    found = power_(name, n=n, clusters=clusters, discordant=discordant, gap=gap)
    say("\n\n".join(sizes.text() for sizes in found), sys.stdout)


@app.command(rich_help_panel=DATA)
def score(
    answers: Annotated[
        Path,
        typer.Argument(metavar="ANSWERS.jsonl", help="Lines with output, answer(s); optionally options, answer_type."),
    ],
    out: Annotated[Path, typer.Option(help="The same lines, with outcome, score, parsed, rule and reason.")],
    debug: DebugOption = False,
) -> None:
    """Score answers that another program produced, by the same rules."""
    from gapbench.commands.score import score_file

    counts = score_file(answers, out)
    say(
        ", ".join(f"{counts.get(outcome, 0)} {outcome}" for outcome in ("right", "wrong", "unparsed")) + f" -> {out}",
        sys.stdout,
    )


@app.command(rich_help_panel=CLOSE)
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demonstration.")] = Path("runs/demo"),
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure the embedded model, close its gap, measure again: no download, a few minutes on a laptop."""
    from gapbench.commands.distill import distill as distill_
    from gapbench.data import catalogue

    say(catalogue.load("signs").card.notice, sys.stdout)
    distilled = distill_("glance", "signs:samples=8000", "demo", out, eval=["signs"],
                         resume=(out / "train.jsonl").exists(), quiet=quiet, command=_command())  # fmt: skip
    _print_distilled(distilled)


@benchmarks_app.command("list")
def list_benchmarks(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of benchmarks/README.md.")] = False,
    debug: DebugOption = False,
) -> None:
    """List names, roles and titles."""
    from gapbench.data import catalogue
    from gapbench.data.cards import UNCHECKED, catalogue_table
    from gapbench.data.suites import all_suites

    cards = [catalogue.load(name).card for name in catalogue.names()]
    if markdown:
        say(catalogue_table(cards).rstrip(), sys.stdout)
    else:
        for card in cards:
            say(f"{card.name:20} {card.role:10} {'' if card.checked else 'unchecked':10} {card.title}", sys.stdout)
        for name, suite in all_suites().items():
            say(f"{name:20} {'suite':21} {suite.title}", sys.stdout)
        say(f"unchecked: {UNCHECKED}", sys.stdout)


@benchmarks_app.command("show")
def show_benchmark(name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH")], debug: DebugOption = False) -> None:
    """Show the card: source, licence, regions, prompt, parameters, traps; of a suite what it asks, and its hash."""
    from gapbench.data import suites
    from gapbench.data.cards import card_text
    from gapbench.data.catalogue import load

    say(suites.text_of(name) if suites.is_suite(name) else card_text(load(name)), sys.stdout)


@benchmarks_app.command("check")
def check_benchmark(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH")],
    limit: Annotated[int | None, typer.Option(help="Only the first N samples.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet: an HTML page of images, boxes and crops to look at.")
    ] = None,
    region: Annotated[str, typer.Option(help="A region policy in place of the card's.")] = "",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Look at every image, box and answer before spending GPU hours; exit code 1 if something is wrong."""
    from gapbench.commands.check import check
    from gapbench.data.catalogue import load
    from gapbench.data.task import TaskSettings, make_task

    result = check(make_task(load(name), TaskSettings(limit=limit, region=region)), sheet=sheet, quiet=quiet)
    say(result.text(), sys.stdout)
    say(f"contact sheet: {sheet}" if sheet else "To look at images and boxes: --sheet FILE.html", sys.stdout)
    if result.problems:
        raise typer.Exit(1)


def _sweep(ctx: typer.Context, config: Path, quiet: bool) -> None:
    """Measure the models of a file. Raises typer.Exit with code 1 if one failed."""
    from gapbench.commands.sweep import read_sweep, run_sweep
    from gapbench.errors import SettingError

    if ctx.params["model"]:
        raise SettingError(f"--config {config}: name the models in the file (`models:`), not on the command line.")
    flags = [flag for option in ctx.command.get_params(ctx) for flag in option.opts]
    if run_sweep(read_sweep(config, flags, _beside_config(ctx), ctx.params["out"]), quiet):
        raise typer.Exit(1)


def _beside_config(ctx: typer.Context) -> list[str]:
    """The arguments of the command line but `--config` and `--out`."""
    rest: list[str] = []
    arguments = iter(ctx.meta["arguments"])
    for text in arguments:
        if text in ("--config", "--out"):
            next(arguments)
        elif not text.startswith(("--config=", "--out=")):
            rest.append(text)
    return rest


def _labels(texts: list[str] | None) -> dict[str, str]:
    """Folder -> name, from `FOLDER=NAME`."""
    from gapbench.errors import SettingError

    pairs: dict[str, str] = {}
    for text in texts or ():
        parts = text.split("=")
        cuts = [("=".join(parts[:n]), "=".join(parts[n:])) for n in range(1, len(parts))]
        run, name = next((cut for cut in cuts if Path(cut[0]).exists()), cuts[0] if cuts else ("", ""))
        if not run or not name.strip() or pairs.get(run, name) != name:
            raise SettingError(f"--label {text}: expected RUN=NAME once for each run, such as runs/a=baseline.")
        pairs[run] = name
    return pairs


def _print_distilled(distilled: Any) -> None:
    say(f"model: {os.path.relpath(distilled.model_path)}", sys.stdout)
    if distilled.comparison is not None:
        _print_result(distilled.comparison)
    say(f"To share it: hf upload YOUR_NAME/YOUR_MODEL {os.path.relpath(distilled.model_path)}", sys.stdout)


def _print_result(result: Any) -> None:
    """Print the verdict, notes and report of a run or a comparison."""
    say(result.summary["verdict"], sys.stdout)
    if hasattr(result, "manifest"):
        from gapbench.report.run.overview import alerts
        from gapbench.runs.run import result_table

        say(aligned(result_table(result.summary)), sys.stdout)
        notes = alerts(result.summary, result.manifest)
    else:
        notes = [(alert["benchmark"], alert["text"]) for alert in result.summary["alerts"]]
    for benchmark, text in notes:
        say(f"note: {f'{benchmark}: ' if benchmark else ''}{text}", sys.stdout)
    say(f"report: {os.path.relpath(result.report)}", sys.stdout)


def _arguments(ctx: typer.Context, *other: str) -> dict[str, Any]:
    """The values of a command's options, those of engines included, for the function of the same name.

    `other` are options that the command itself turns into arguments.
    """
    values = {name: value for name, value in ctx.params.items() if name not in ("debug", *other)}
    return {**values, **(ctx.obj or {}), "command": _command()}


def _command() -> str:
    """The command as the user typed it, without the path of the installed program and without credentials."""
    return redacted(shlex.join(["gapbench", *sys.argv[1:]]))


def _cards(text: str) -> int | None:
    """The number of sample cards, None for all."""
    from gapbench.errors import SettingError
    from gapbench.report import CARDS

    if text and text != "all" and not text.isdecimal():
        raise SettingError(f"--cards {text}: expected a number such as {CARDS}, or all.")
    return None if text == "all" else int(text or CARDS)


def _judge(url: str, model: str, api_key_env: str) -> Any:
    from gapbench.errors import SettingError
    from gapbench.judging import Judge

    if bool(url) != bool(model) or (api_key_env and not url):
        raise SettingError("--judge URL and --judge-model NAME go together, and --judge-api-key-env NAME with them.")
    return Judge(url, model, api_key_env) if url else None
