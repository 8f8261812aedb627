"""The options that several commands share.

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
"""How to name a benchmark or data set on the command line."""


def _quiet_downloads(quiet: bool) -> bool:
    """With `--quiet`, switch off the Hub's progress bars, which gapbench's own downloads and unpacking follow too.

    The Hub's library reads the switch only once, when it is imported.
    """
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    return quiet


ModelArgument = Annotated[str, typer.Argument(help="Hub id, local folder, or `glance` (embedded).")]
BenchmarksOption = Annotated[
    list[str],
    typer.Option("--benchmark", "-b", help=f"{BENCHMARK}; repeatable."),
]
LimitOption = Annotated[int | None, typer.Option(help="Only the first N samples of each benchmark.")]
ShardOption = Annotated[
    str, typer.Option(metavar="K/N", help="Measure only shard K of N, for N workers; see `gapbench merge`.")
]
NoSelfcheckOption = Annotated[
    bool, typer.Option("--no-selfcheck", help="Skip the self-check of the engine before the run; see `selfcheck`.")
]
MaxNewTokensOption = Annotated[int, typer.Option(help="Longest answer, in tokens.")]
MinPixelsOption = Annotated[
    int | None, typer.Option(help="Enlarge smaller images to this many pixels (width x height).")
]
MaxPixelsOption = Annotated[int | None, typer.Option(help="Shrink larger images to this many pixels.")]
EngineOption = Annotated[
    str, typer.Option(help="transformers, vllm (in this process) or server (OpenAI-compatible, at --base-url).")
]
TensorParallelOption = Annotated[int | None, typer.Option(help="vllm: devices that share the model.")]
EngineArgsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-args",
        help="vllm: KEY=VALUE, an engine argument of vLLM such as max_model_len=16384; repeatable.",
    ),
]
BaseUrlOption = Annotated[
    list[str] | None,
    typer.Option("--base-url", help="server: URL, such as http://localhost:8000/v1; repeatable, to share the work."),
]
ConcurrencyOption = Annotated[
    str, typer.Option(metavar="N|auto", help="server: requests in flight at once, over all servers.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="server: time limit of a request before it is retried; default: 600."),
]
ApiKeyEnvOption = Annotated[
    str, typer.Option(metavar="NAME", help="server: the environment variable that holds the API key.")
]
JudgeUrlOption = Annotated[
    str,
    typer.Option(
        "--judge", metavar="URL", help="An OpenAI-compatible server that judges the answers that no rule can read."
    ),
]
JudgeModelOption = Annotated[str, typer.Option(metavar="NAME", help="The judge's name on that server.")]
JudgeApiKeyEnvOption = Annotated[
    str, typer.Option(metavar="NAME", help="The environment variable that holds the judge's API key.")
]
BatchSizeOption = Annotated[str, typer.Option(metavar="N|auto", help="transformers: prompts in a batch.")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
RevisionOption = Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub model.")]
ProcessorOption = Annotated[
    list[str] | None,
    typer.Option("--processor", help="KEY=VALUE passed to the model's processor (YAML value); repeatable."),
]
ChatTemplateOption = Annotated[Path | None, typer.Option(help="A Jinja file, for models without a chat template.")]
AttentionOption = Annotated[
    str | None, typer.Option(help="eager, sdpa, flash_attention_2, …; default: transformers' choice.")
]
TrustRemoteCodeOption = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that ships with the model.")]
NoImagesOption = Annotated[
    bool, typer.Option("--no-images", help="Leave all images out (to share a report when licences forbid the images).")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result, without progress.", callback=_quiet_downloads)
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
EngineOptionValues = dict[str, Any] | None
"""The engine and its options, as `engine_options` returns them."""


def engine_options(
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
    """The options of every command that runs a model, as arguments of `gapbench.engines.loading.load`."""
    return {
        "engine": engine,
        "dtype": dtype,
        "device": device,
        "revision": revision,
        "processor_kwargs": _key_values("--processor", processor, "max_soft_tokens=280"),
        "chat_template": chat_template,
        "trust_remote_code": trust_remote_code,
        "attn_implementation": attn_implementation,
        "batch_size": _number_or_auto("--batch-size", batch_size),
        "tensor_parallel": tensor_parallel,
        "engine_args": _key_values("--engine-args", engine_args, "max_model_len=16384"),
        "base_urls": base_url,
        "concurrency": _number_or_auto("--concurrency", concurrency),
        "timeout": timeout,
        "api_key_env": api_key_env,
    }


def with_options_of(
    shared: Callable[..., dict[str, Any]], name: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command: its parameter `name` becomes the options of `shared`, and receives what `shared` returns."""
    shared_options = inspect.signature(shared, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**values: Any) -> None:
            shared_values = {option: values.pop(option) for option in shared_options}
            command(**values, **{name: shared(**shared_values)})

        signature = inspect.signature(command, eval_str=True)
        options = [
            option
            for parameter in signature.parameters.values()
            for option in (shared_options.values() if parameter.name == name else (parameter,))
        ]
        setattr(run, "__signature__", signature.replace(parameters=options))  # noqa: B010  # unknown to mypy
        run.__annotations__ = {option.name: option.annotation for option in options}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def _number_or_auto(flag: str, value: str) -> int | None:
    from gapbench.errors import SettingError

    if value == "auto":
        return None
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise SettingError(f"{flag} {value}: expected a number of at least 1, or auto.")
    return int(value)


def _key_values(flag: str, items: list[str] | None, example: str) -> dict[str, Any]:
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
