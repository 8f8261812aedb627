"""Rollouts by vLLM in the trainer's own process and on its GPU: faster answers through the same protocol.

    sampler = start("Qwen/Qwen3-VL-4B-Instruct", recipe, "bfloat16")
    rollouts = sampler(role, prompts, sampling)

Before every batch of rollouts vLLM is given the student's current weights, all of them and with adapters merged
(`export`, `weights`). So the answers after an optimizer step are the new student's. Between batches vLLM sleeps if the
platform supports it (GPUs): its weights and cache leave the GPU, and the optimizer can use the memory.

A prompt is the same conversation as for the reference sampler: the same image, chat template, escaped text and switches
against thinking. An answer ends only at the student's own end tokens. Placeholders of images are never drawn.
Log-probabilities are vLLM's, at temperature 1, before any other processing. vLLM also draws the tokens, with a seed for
each answer: the draws are repeatable, but differ from those of the reference for the same keys.

Limits: one process, or DDP with one vLLM per process. The model must fit on one GPU beside the trainer.
`rollout_tokens` has no effect: vLLM fills its own batches. Written for vLLM 0.32 and so far run only on a CPU, where
nothing sleeps: `sleep`, `wake_up`, CUDA graphs with new weights and NCCL's process groups are untested by us.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from gapbench.distillation.recipe import Recipe
from gapbench.distillation.rollouts import Prompt, Rollout, Rollouts, Sampling
from gapbench.distillation.student import ModelRole
from gapbench.distillation.vllm.exported_weights import published_weights
from gapbench.engines import models
from gapbench.engines.chat import chat_template_of
from gapbench.errors import ModelError, SettingError
from gapbench.util.text import error_line

BATCH_PIXELS = 200_000_000
"""Pixels of the prompts that vLLM gets together; prepared for a model they take about 24 bytes each."""
SHARED_ENGINES: list[Any] = []
"""Engines whose process group several trainers share. Stopping an engine ends the group, and so does dropping the last
reference to it. So they are held here, asleep if they can sleep, until `stop_sharing`.
"""
NEVER_BIAS = -100.0
"""Added to the logit of a token that must not be drawn, the lowest bias that vLLM accepts; it divides p by e^100."""


@dataclass(frozen=True)
class VllmSampler:
    """See the module. Made by `start`. `llm` is vLLM's `LLM`; `sleeps`: it sleeps between batches."""

    llm: Any
    info: dict[str, Any]
    sleeps: bool = False

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        """Answers to each prompt, one for each of its keys; see `Sampler`."""
        with self._awake(role):
            outputs = [out for batch in _split_by_pixels(prompts) for out in self._chat(role, batch, sampling)]
        return [[_rollout(output, answer) for answer in output.outputs] for output in outputs]

    def prompt_ids(self, role: ModelRole, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The token ids of the prompts as vLLM reads them, with images expanded to their tokens."""
        with self._awake(role):
            return [list(output.prompt_token_ids) for output in self._chat(role, prompts, Sampling(1))]

    def close(self) -> None:
        """Stop vLLM, unless it shares its process group with other trainers."""
        if self.llm not in SHARED_ENGINES:
            self.llm.llm_engine.engine_core.shutdown()

    @contextmanager
    def _awake(self, role: ModelRole) -> Iterator[None]:
        """vLLM awake, with the current weights of the role's model. Waking the cache last lowers the peak memory."""
        from gapbench.distillation.vllm.weights import push

        if self.sleeps:
            torch.cuda.empty_cache()  # torch would keep unused memory, which vLLM cannot take
            self.llm.wake_up(tags=["weights"])
        push(self.llm, published_weights(role.model))
        if self.sleeps:
            self.llm.wake_up(tags=["kv_cache"])
        try:
            yield
        finally:
            if self.sleeps:
                self.llm.sleep(level=2)  # discards the weights: they will be outdated at the next batch

    def _chat(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> list[Any]:
        """vLLM's outputs, in order of the prompts."""
        contents = [
            [{"type": "image_pil", "image_pil": p.image}, {"type": "text", "text": role.chat.escape(p.text)}]
            for p in prompts
        ]
        try:
            outputs: list[Any] = self.llm.chat(
                [[{"role": "user", "content": content}] for content in contents],
                [_settings(role, prompt, sampling) for prompt in prompts],
                use_tqdm=False,
                chat_template=chat_template_of(role.chat.processor),
                chat_template_kwargs=dict(role.chat.thinking.switches),
            )
        except Exception as error:
            raise ModelError(
                f"use_vllm: vLLM gave no rollouts ({error_line(error)}). If the prompt is too long: lower max_pixels, "
                "or vllm_engine_args={max_model_len: N}. If its messages above speak of memory: lower "
                "vllm_gpu_memory_utilization. use_vllm=false works without it."
            ) from error
        return outputs


def start(
    model: str, recipe: Recipe, precision: str, revision: str | None = None, trust_remote_code: bool = False,
    processes: int = 1,
) -> VllmSampler:  # fmt: skip
    """vLLM with `model`, asleep if it can sleep. `precision` is the trainer's, `processes` the number of trainers.

    Raises ModelError or SettingError.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ModelError("use_vllm: vLLM is not installed. pip install 'gapbench[vllm]', or set use_vllm=false.")
    from gapbench.engines.vllm.starting import CPU_CACHE_BYTES, import_vllm

    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are passed within this process
    try:
        on_cpu = import_vllm(recipe.vllm_engine_args)
    except SettingError as error:
        raise SettingError(str(error).replace("--engine-args ", "vllm_engine_args: ")) from error
    import vllm
    from vllm.config import WeightTransferConfig
    from vllm.platforms import current_platform

    from gapbench.distillation.vllm.weights import BACKEND, register

    register()
    sleeps = recipe.vllm_enable_sleep_mode and bool(current_platform.is_sleep_mode_available())
    arguments = {
        "enable_prefix_caching": True,  # the answers to a prompt share it
        "load_format": "safetensors",  # vLLM's default falls back to pickles
        "max_model_len": -1,  # as much as fits into memory, at most the model's own limit
        "limit_mm_per_prompt": {"image": 1, "video": 0, "audio": 0},
        "use_tqdm_on_load": False,
        "gpu_memory_utilization": recipe.vllm_gpu_memory_utilization,
        "enable_sleep_mode": sleeps,
        # With chunked prefill vLLM undoes a draw after each chunk, which it cannot do for seeded draws on a CPU.
        **({"enforce_eager": True, "enable_chunked_prefill": False} if on_cpu else {}),
        **({"kv_cache_memory_bytes": CPU_CACHE_BYTES} if on_cpu and "VLLM_CPU_KVCACHE_SPACE" not in os.environ else {}),
        # Each trainer has an engine in its own process and process group, on its own GPU.
        **({"distributed_executor_backend": "external_launcher"} if processes > 1 else {}),
        **recipe.vllm_engine_args,
        "model": models.resolve(model),
        "dtype": precision,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "seed": recipe.seed % (1 << 32),
        "mm_processor_kwargs": dict(recipe.processor) or None,
        "weight_transfer_config": WeightTransferConfig(backend=BACKEND),
    }
    try:
        llm = vllm.LLM(**arguments)
    except Exception as error:
        raise ModelError(
            f"Model {model}: vLLM could not start it ({error_line(error)}). Its own messages above say why. If memory "
            "beside the trainer is short: lower vllm_gpu_memory_utilization, or vllm_engine_args={max_model_len: N}. "
            "use_vllm=false works without it."
        ) from error
    if processes > 1:
        SHARED_ENGINES.append(llm)
    llm.init_weight_transfer_engine({"init_info": {}})
    if sleeps:
        llm.sleep(level=2)
    info = {"engine": "vllm", "vllm": vllm.__version__, "dtype": precision, "sleeps": sleeps,
            "engine_args": dict(recipe.vllm_engine_args)}  # fmt: skip
    return VllmSampler(llm, info, sleeps)


def stop_sharing() -> None:
    """Stop the shared engines and their process group, after the last collective operation."""
    while SHARED_ENGINES:
        SHARED_ENGINES.pop().llm_engine.engine_core.shutdown()


def _settings(role: ModelRole, prompt: Prompt, sampling: Sampling) -> Any:
    """vLLM's settings for all answers to a prompt; the n-th answer has the first key plus n as its seed."""
    from vllm import SamplingParams

    return SamplingParams(
        n=len(prompt.keys),
        seed=prompt.keys[0],
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_new_tokens,
        logprobs=0,  # only of the drawn token
        logit_bias={token: NEVER_BIAS for token in role.suppressed if token < role.vocabulary} or None,
        ignore_eos=True,  # vLLM's own end tokens
        stop_token_ids=list(role.ends),
        detokenize=False,
    )


def _rollout(output: Any, answer: Any) -> Rollout:
    if answer.finish_reason not in ("stop", "length"):
        raise ModelError(f"use_vllm: vLLM aborted a rollout (finish reason {answer.finish_reason!r}).")
    logps = (entry[token].logprob for token, entry in zip(answer.token_ids, answer.logprobs, strict=True))
    return Rollout(
        tuple(answer.token_ids), tuple(logps), answer.finish_reason == "length", len(output.prompt_token_ids)
    )


def _split_by_pixels(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Prompts in order, in batches of at most `BATCH_PIXELS`; a larger prompt is a batch of its own."""
    batches: list[list[Prompt]] = []
    for prompt in prompts:
        if not batches or sum(p.pixels for p in (*batches[-1], prompt)) > BATCH_PIXELS:
            batches.append([])
        batches[-1].append(prompt)
    return batches
