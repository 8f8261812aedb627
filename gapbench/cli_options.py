"""Options that several commands share, each said once.

def measure(model: Model, benchmark: Benchmarks, limit: Limit = None): ...
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

BENCHMARK = (
    "Name of the catalogue; .py file; or data: .jsonl, .csv, .tsv, .parquet, a folder, OWNER/NAME on the Hub. "
    "NAME:key=value,key=value sets parameters (for data, which column holds what: question=COLUMN); NAME=FOLDER names "
    "a local copy"
)
"""What one may measure or train on."""


def _hush(quiet: bool) -> bool:
    """Downloads and unpacking begin deep below; both heed the Hub's own switch, which is read once, at its import."""
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    return quiet


Model = Annotated[str, typer.Argument(help="Hub id, local folder, or `glance` (embedded).")]
Benchmarks = Annotated[
    list[str],
    typer.Option("--benchmark", "-b", help=f"{BENCHMARK}; repeatable."),
]
Limit = Annotated[int | None, typer.Option(help="Only the first N questions of each benchmark.")]
Shard = Annotated[
    str, typer.Option(metavar="K/N", help="Ask only the K-th of N shares, for as many workers; see `gapbench merge`.")
]
NoSelfcheck = Annotated[
    bool, typer.Option("--no-selfcheck", help="Do not first ask the engine about drawn pictures; see `selfcheck`.")
]
MaxNewTokens = Annotated[int, typer.Option(help="Longest answer, in tokens.")]
MinPixels = Annotated[int | None, typer.Option(help="Enlarge smaller pictures to this many pixels (width x height).")]
MaxPixels = Annotated[int | None, typer.Option(help="Shrink larger pictures to this many pixels.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Revision = Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub model.")]
Processor = Annotated[
    list[str] | None,
    typer.Option("--processor", help="KEY=VALUE passed to the model's processor (YAML value); repeatable."),
]
ChatTemplate = Annotated[Path | None, typer.Option(help="A jinja file, for models without a template.")]
Attention = Annotated[
    str | None, typer.Option(help="eager, sdpa, flash_attention_2, …; default: transformers' choice.")
]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that ships with the model.")]
NoImages = Annotated[
    bool, typer.Option("--no-images", help="Leave all pictures out (for sharing under other licences).")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.", callback=_hush)]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
