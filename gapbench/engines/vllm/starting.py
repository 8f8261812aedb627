"""Start vLLM: check the installation and the user's arguments, and explain failures."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import os
from collections.abc import Mapping
from multiprocessing import active_children
from typing import Any

from gapbench.engines import models
from gapbench.engines.chat import Chat, chat_of
from gapbench.engines.vllm.guard import end_with_this_process, wake_on_exit
from gapbench.errors import ModelError, SettingError
from gapbench.util.text import error_line

CPU_CACHE_BYTES = 2 << 30
"""Size of the key-value cache on a CPU. vLLM's own default is nearly all of the machine's memory."""
RESERVED_ARGUMENTS = {
    "model": "MODEL", "tokenizer": "MODEL", "dtype": "--dtype", "revision": "--revision", "seed": "--seed",
    "trust_remote_code": "--trust-remote-code", "tensor_parallel_size": "--tensor-parallel-size",
    "data_parallel_size": "--data-parallel-size",
    "mm_processor_kwargs": "--processor", "hf_token": "the environment variable HF_TOKEN (not in run.json)",
}  # fmt: skip
"""Engine arguments that must be set elsewhere, and where."""


def import_vllm(engine_args: Mapping[str, Any]) -> bool:
    """Import vLLM, check the user's engine arguments, and return whether vLLM runs on a CPU.

    Raises ModelError or SettingError.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ModelError("--engine vllm: vLLM is not installed. pip install 'gapbench[vllm]', or use --engine server.")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # vLLM would report usage statistics by default
    if "OMP_NUM_THREADS" in os.environ:  # else vLLM on a CPU overrides the number of threads and pins them
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    from gapbench.util.torchvision_repair import repair

    repair()
    try:
        from vllm import LLM, EngineArgs
        from vllm.platforms import current_platform
    except Exception as error:
        raise ModelError(
            f"--engine vllm: vLLM is installed but cannot be imported ({error_line(error)}). "
            "It needs its own version of torch; install it into a separate environment: pip install 'gapbench[vllm]'."
        ) from error
    if not hasattr(LLM, "enqueue_chat"):
        raise ModelError("--engine vllm: this vLLM is too old. pip install --upgrade 'gapbench[vllm]'.")
    argument_names = {f.name for f in dataclasses.fields(EngineArgs)}
    for name in engine_args:
        if name in RESERVED_ARGUMENTS:
            raise SettingError(f"--engine-args {name}: reserved; set {RESERVED_ARGUMENTS[name]} instead.")
        if name not in argument_names:
            near = difflib.get_close_matches(name, argument_names, n=1)
            raise SettingError(
                f"--engine-args {name}: vLLM has no such argument.{f' Did you mean {near[0]}?' if near else ''} "
                "Expected KEY=VALUE as in vLLM's EngineArgs, such as max_model_len=8192."
            )
    return bool(current_platform.is_cpu())


def read_chat(model: str, source: str, options: Any) -> Chat:
    """The processor, loaded by transformers, and its way to prompt. Without a chat template, vLLM's for the model type.

    Raises ModelError.
    """
    import transformers

    try:
        processor = transformers.AutoProcessor.from_pretrained(
            source, revision=options.revision, trust_remote_code=options.trust_remote_code
        )
    except Exception as error:
        raise ModelError(models.load_error(model, error)) from error
    if options.chat_template:
        processor.chat_template = options.chat_template.read_text(encoding="utf-8")
    return chat_of(processor, options.processor_kwargs, options.chat_template_kwargs, options.reasoning_tags)


def arguments_for(source: str, options: Any, seed: int, on_cpu: bool) -> dict[str, Any]:
    """vLLM's arguments (`EngineArgs`) for these options, in process and behind its server."""
    few_bytes = on_cpu and not os.environ.get("VLLM_CPU_KVCACHE_SPACE")
    return {
        "enable_prefix_caching": True,
        "load_format": "safetensors",  # vLLM's own default falls back to pickles
        "max_model_len": options.max_model_len or -1,  # -1: the longest that fits into memory and that the model has
        "limit_mm_per_prompt": {"video": 0, "audio": 0},
        **({"enforce_eager": True} if on_cpu else {}),
        **({"kv_cache_memory_bytes": CPU_CACHE_BYTES} if few_bytes else {}),
        **options.engine_args,
        "model": source,
        "dtype": "float32" if options.dtype == "auto" and on_cpu else options.dtype,
        "revision": options.revision,
        "trust_remote_code": options.trust_remote_code,
        "seed": seed,
        "tensor_parallel_size": options.tensor_parallel_size,
        "mm_processor_kwargs": dict(options.processor_kwargs) or None,
    }


def start(arguments: dict[str, Any]) -> Any:
    """vLLM's `LLM`. Its processes end with this process. Raises what vLLM raises."""
    from vllm import LLM

    earlier_children = active_children()
    llm = LLM(**{"use_tqdm_on_load": False, **arguments})
    children = [child for child in active_children() if child not in earlier_children]
    if children:  # none if vLLM works in this process
        end_with_this_process(children)
        wake_on_exit(children, llm)
    return llm


def start_error(model: str, error: object) -> ModelError:
    """The error for a model that vLLM cannot start."""
    text = error_line(error) if isinstance(error, Exception) else error
    return ModelError(
        f"Model {model}: vLLM could not start it ({text}). Its own messages above say why. If memory ran out: "
        "--engine-args gpu_memory_utilization=0.85, --tensor-parallel-size N. Only safetensors are read, unless "
        "--engine-args load_format=auto. A model that vLLM does not know may run with --engine transformers."
    )
