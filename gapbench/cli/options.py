"""Options that several commands share, each said once.

def measure(model: ModelArgument, benchmark: BenchmarksOption, limit: LimitOption = None): ...
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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


ModelArgument = Annotated[str, typer.Argument(help="Hub id, local folder, or `glance` (embedded).")]
BenchmarksOption = Annotated[
    list[str],
    typer.Option("--benchmark", "-b", help=f"{BENCHMARK}; repeatable."),
]
LimitOption = Annotated[int | None, typer.Option(help="Only the first N questions of each benchmark.")]
ShardOption = Annotated[
    str, typer.Option(metavar="K/N", help="Ask only the K-th of N shares, for as many workers; see `gapbench merge`.")
]
NoSelfcheckOption = Annotated[
    bool, typer.Option("--no-selfcheck", help="Do not first ask the engine about drawn images; see `selfcheck`.")
]
MaxNewTokensOption = Annotated[int, typer.Option(help="Longest answer, in tokens.")]
MinPixelsOption = Annotated[
    int | None, typer.Option(help="Enlarge smaller images to this many pixels (width x height).")
]
MaxPixelsOption = Annotated[int | None, typer.Option(help="Shrink larger images to this many pixels.")]
EngineOption = Annotated[
    str, typer.Option(help="transformers, vllm (in this process) or server (any OpenAI-compatible one, at --base-url).")
]
TensorParallelOption = Annotated[int | None, typer.Option(help="vllm: devices that share the model.")]
EngineArgsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-args",
        help="vllm: KEY=VALUE of vLLM's own engine arguments, such as max_model_len=16384; repeatable.",
    ),
]
BaseUrlOption = Annotated[
    list[str] | None,
    typer.Option("--base-url", help="server: such as http://localhost:8000/v1; repeatable, for several that share."),
]
ConcurrencyOption = Annotated[
    str, typer.Option(metavar="N|auto", help="server: requests under way at once, over all servers.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="server: how long a request may take before it is tried again; 600."),
]
ApiKeyEnvOption = Annotated[
    str, typer.Option(metavar="NAME", help="server: the environment variable that holds the key.")
]
JudgeUrlOption = Annotated[
    str,
    typer.Option(
        "--judge", metavar="URL", help="An OpenAI-compatible server that judges the answers which no rule decides."
    ),
]
JudgeModelOption = Annotated[str, typer.Option(metavar="NAME", help="Who judges, as that server calls it.")]
JudgeApiKeyEnvOption = Annotated[
    str, typer.Option(metavar="NAME", help="The environment variable that holds the judge's key.")
]
BatchSizeOption = Annotated[str, typer.Option(metavar="N|auto", help="transformers: questions at once.")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
RevisionOption = Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub model.")]
ProcessorOption = Annotated[
    list[str] | None,
    typer.Option("--processor", help="KEY=VALUE passed to the model's processor (YAML value); repeatable."),
]
ChatTemplateOption = Annotated[Path | None, typer.Option(help="A jinja file, for models without a template.")]
AttentionOption = Annotated[
    str | None, typer.Option(help="eager, sdpa, flash_attention_2, …; default: transformers' choice.")
]
TrustRemoteCodeOption = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that ships with the model.")]
NoImagesOption = Annotated[
    bool, typer.Option("--no-images", help="Leave all images out (for sharing under other licences).")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.", callback=_hush)]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
EngineAsked = dict[str, Any] | None
"""Which engine is asked and what it is told: what `engine_asked` makes of its options."""


def engine_asked(
    engine: EngineOption = "transformers",
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    revision: RevisionOption = None,
    processor: ProcessorOption = None,
    chat_template: ChatTemplateOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    attn_implementation: AttentionOption = None,
    batch_size: BatchSizeOption = "auto",
    tensor_parallel: TensorParallelOption = None,
    engine_args: EngineArgsOption = None,
    base_url: BaseUrlOption = None,
    concurrency: ConcurrencyOption = "auto",
    timeout: TimeoutOption = None,
    api_key_env: ApiKeyEnvOption = "",
) -> dict[str, Any]:
    """The options of every command that asks a model, as `gapbench.engines.loading.load` takes them."""
    return {
        "engine": engine,
        "dtype": dtype,
        "device": device,
        "revision": revision,
        "processor_kwargs": _pairs("--processor", processor, "max_soft_tokens=280"),
        "chat_template": chat_template,
        "trust_remote_code": trust_remote_code,
        "attn_implementation": attn_implementation,
        "batch_size": _number("--batch-size", batch_size),
        "tensor_parallel": tensor_parallel,
        "engine_args": _pairs("--engine-args", engine_args, "max_model_len=16384"),
        "base_urls": base_url,
        "concurrency": _number("--concurrency", concurrency),
        "timeout": timeout,
        "api_key_env": api_key_env,
    }


def with_options_of(
    shared: Callable[..., dict[str, Any]], name: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The command's parameter `name` becomes the options of `shared`, and gets what that makes of them."""
    theirs = inspect.signature(shared, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**typed: Any) -> None:
            part = {option: typed.pop(option) for option in theirs}
            command(**typed, **{name: shared(**part)})

        whole = inspect.signature(command, eval_str=True)
        options = [o for p in whole.parameters.values() for o in (theirs.values() if p.name == name else (p,))]
        setattr(run, "__signature__", whole.replace(parameters=options))  # noqa: B010  # mypy knows no such attribute
        run.__annotations__ = {option.name: option.annotation for option in options}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _number(flag: str, value: str) -> int | None:
    from gapbench.errors import SettingError

    if value == "auto":
        return None
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise SettingError(f"{flag} {value}: expected a number of at least 1, or auto.")
    return int(value)


def _pairs(flag: str, items: list[str] | None, example: str) -> dict[str, Any]:
    import yaml

    from gapbench.errors import SettingError

    pairs = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise SettingError(f"{flag} {item!r}: expected KEY=VALUE, such as {example}.")
        try:
            pairs[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SettingError(f"{flag} {key}: found {value!r}, expected a YAML value, such as {example}.") from error
    return pairs
