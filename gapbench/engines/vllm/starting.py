"""Start vLLM: check the installation and the user's arguments, and explain failures."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import os
from collections.abc import Mapping
from multiprocessing import active_children
from pathlib import Path
from typing import Any

from gapbench.engines import models
from gapbench.engines.chat import chat_template_of
from gapbench.engines.vllm.guard import end_with_this_process, wake_on_exit
from gapbench.errors import ModelError, SettingError
from gapbench.util.text import error_line

CPU_CACHE_BYTES = 2 << 30
"""Size of the key-value cache on a CPU. vLLM's own default is nearly all of the machine's memory."""
RESERVED_ARGUMENTS = {
    "model": "MODEL", "tokenizer": "MODEL", "dtype": "--dtype", "revision": "--revision", "seed": "--seed",
    "trust_remote_code": "--trust-remote-code", "tensor_parallel_size": "--tensor-parallel",
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


def read_processor(
    name: str, source: str, revision: str | None, trust_remote_code: bool, chat_template: Path | None
) -> tuple[Any, str | None]:
    """The processor, loaded by transformers, and the chat template, or None to use vLLM's for the model type.

    Raises ModelError.
    """
    import transformers

    try:
        processor = transformers.AutoProcessor.from_pretrained(
            source, revision=revision, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        raise ModelError(models.load_error(name, error)) from error
    return processor, chat_template.read_text(encoding="utf-8") if chat_template else chat_template_of(processor)


def start(name: str, arguments: dict[str, Any]) -> Any:
    """vLLM's `LLM`. Its processes end with this process. Raises ModelError."""
    from vllm import LLM
    from vllm.platforms import current_platform

    if current_platform.is_cpu() and not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
        arguments = {"kv_cache_memory_bytes": CPU_CACHE_BYTES, **arguments}
    earlier_children = active_children()
    try:
        llm = LLM(**arguments)
    except Exception as error:
        raise ModelError(
            f"Model {name}: vLLM could not start it ({error_line(error)}). Its own messages "
            "above say why. If memory ran out: --engine-args gpu_memory_utilization=0.85, --tensor-parallel N. Only "
            "safetensors are read, unless --engine-args load_format=auto. A model that vLLM does not know may run with "
            "--engine transformers."
        ) from error
    children = [child for child in active_children() if child not in earlier_children]
    end_with_this_process(children)
    wake_on_exit(children, llm)
    return llm
