"""The options that several commands share.

def measure(model: ModelArgument, benchmark: BenchmarksOption, limit: LimitOption = None): ...
"""

from __future__ import annotations

import inspect
import os
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

BENCHMARK = (
    "Name of the catalogue; .py file; or data: .jsonl, .csv, .tsv, .parquet, a folder, OWNER/NAME on the Hub. "
    "NAME:key=value,key=value sets parameters (for data, which column holds what: question=COLUMN); NAME=FOLDER names "
    "a local copy"
)
"""How to name a benchmark or data set on the command line."""


JUDGE = "The judge"


def _quiet_downloads(quiet: bool) -> bool:
    """With `--quiet`, switch off the Hub's progress bars, which gapbench's own downloads and unpacking follow too.

    The Hub's library reads the switch only once, when it is imported.
    """
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    return quiet


ModelArgument = Annotated[str, typer.Argument(help="Hub id, local folder, or `glance` (embedded).")]
BenchmarksOption = Annotated[list[str], typer.Option("--benchmark", "-b", help=f"{BENCHMARK}; repeatable.")]
RegionsOption = Annotated[
    Path | None, typer.Option(help="Region file from gapbench locate (.jsonl); its boxes replace all others.")
]
LimitOption = Annotated[int | None, typer.Option(help="Only the first N samples of each benchmark.")]
ShardOption = Annotated[
    str, typer.Option(metavar="K/N", help="Measure only shard K of N, for N workers; see `gapbench merge`.")
]
NoSelfcheckOption = Annotated[
    bool, typer.Option("--no-selfcheck", help="Skip the self-check of the engine before the run; see `doctor`.")
]
MaxNewTokensOption = Annotated[
    int | None, typer.Option(help="Longest answer, in tokens; default: 128, and 4096 if the model thinks first.")
]
MinPixelsOption = Annotated[
    int | None, typer.Option(help="Enlarge smaller images to this many pixels (width x height).")
]
MaxPixelsOption = Annotated[int | None, typer.Option(help="Shrink larger images to this many pixels.")]
EngineOption = Annotated[
    str,
    typer.Option(
        help="auto (vllm where it is installed and a GPU is there, else transformers; the only one that has the "
        "options that are set), transformers, vllm (on this machine) or server (OpenAI-compatible, at --base-url)."
    ),
]
JudgeUrlOption = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="URL",
        help="An OpenAI-compatible server that judges the answers that no rule can read.",
        rich_help_panel=JUDGE,
    ),
]
JudgeModelOption = Annotated[
    str, typer.Option(metavar="NAME", help="The judge's name on that server.", rich_help_panel=JUDGE)
]
JudgeApiKeyEnvOption = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="The environment variable that holds the judge's API key.", rich_help_panel=JUDGE
    ),
]
RevisionOption = Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub model.")]
TrustRemoteCodeOption = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that ships with the model.")]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="RUN=NAME", help="Name of a run in tables and plots; repeatable.")
]
FiguresOption = Annotated[
    Path | None, typer.Option(help="A folder for every figure as SVG and PDF, for a paper, with its data as CSV.")
]
NoImagesOption = Annotated[
    bool, typer.Option("--no-images", help="Leave all images out (to share a report when licences forbid the images).")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result, without progress.", callback=_quiet_downloads)
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class EngineCommand(TyperCommand):
    """A command with the options of every engine (`gapbench.engines.loading.all_options`), which it finds in `ctx.obj`.

    They are made when the command is called or its help is asked for, so that `gapbench --help` need not load pydantic.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        own = super().get_params(ctx)
        place = next((n for n, param in enumerate(own) if param.name == "engine"), len(own)) + 1
        return [*own[:place], *_engine_options(), *own[place:]]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["arguments"] = tuple(args)
        rest = super().parse_args(ctx, args)
        ctx.obj = {option.name: ctx.params.pop(option.name) for option in _engine_options()}
        return rest


@cache
def _engine_options() -> list[Any]:
    """The options of all engines, as typer makes them of a function's parameters. Pydantic reads their text."""
    from gapbench.engines.loading import ENGINES, all_options
    from gapbench.engines.options import flag_of

    def command(**values: Any) -> None: ...

    annotations: dict[str, Any] = {}
    for name, option in all_options().items():
        flag, declared = flag_of(option.field), str(option.field.annotation)
        several = "tuple" in declared or "Mapping" in declared
        engines = "" if len(option.engines) == len(ENGINES) else f"{', '.join(option.engines)}: "
        text, metavar = f"{engines}{flag.help}.", flag.metavar or None
        taken: Any = bool if option.field.annotation is bool else list[str] if several else str
        if flag.typed:
            shown = typer.Option(
                option.flag, metavar=metavar, help=text, show_default=False, rich_help_panel="Options of engines"
            )
            annotations[name] = Annotated[taken | None, shown]
    kind = inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter(name, kind, default=None, annotation=taken) for name, taken in annotations.items()]
    setattr(command, "__signature__", inspect.Signature(own))  # noqa: B010  # unknown to mypy
    command.__annotations__ = annotations
    made = typer.Typer(add_completion=False)
    made.command()(command)
    return typer.main.get_command(made).params
