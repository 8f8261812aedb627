"""Rollouts through vLLM in the trainer's own process, on the trainer's own GPU: faster answers, the same protocol.

    sampler = start("Qwen/Qwen3-VL-4B-Instruct", recipe, "bfloat16")
    rollouts = sampler(role, prompts, sampling)

Before every batch of rollouts vLLM is given the weights that the student has by then, all of them and with adapters
merged (`published`, `vllm_weights`): after each optimizer step the next answers are the new student's. Between batches
vLLM sleeps where the platform can (GPUs): its weights and cache leave the GPU, and the optimizer has the memory.

A prompt is the conversation that the reference reads: the same image, chat template, escaped text and switches
against thinking. An answer ends at the student's own end tokens and nothing else; placeholders of images are never
drawn; log-probabilities are vLLM's, at temperature 1, before anything else. Draws are vLLM's too, with a seed for each
answer: they repeat themselves, but are not those of the reference for the same keys.

Limits: one process or DDP, a copy of vLLM for each; the model must fit on one GPU beside the trainer. `rollout_tokens`
does not count: vLLM fills its own batches. Written against vLLM 0.32 and run on a CPU alone so far, where nothing
sleeps: `sleep`, `wake_up`, CUDA graphs with new weights and NCCL's process groups are untested by us.
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
from gapbench.distillation.rollouts import Prompt, Rollout, Sampling
from gapbench.distillation.student import ModelRole
from gapbench.distillation.vllm.export import published_weights
from gapbench.engines import models
from gapbench.engines.chat import chat_template_of
from gapbench.errors import ModelError, SettingError
from gapbench.util.text import error_line

PIXELS = 200_000_000
"""Pixels of the prompts that vLLM is given together; prepared for a model they take about 24 bytes each."""
SHARING: list[Any] = []
"""Engines in the process group of several trainers. Stopping one ends the group, and so does losing the last reference
to it; so they are kept, asleep where they can sleep, until `stop_sharing`."""
NEVER = -100.0
"""Added to the logit of a token that must not be drawn; vLLM takes no less. It makes p smaller by a factor of e^100."""


@dataclass(frozen=True)
class VllmSampler:
    """See the module. Made by `start`; `llm` is vLLM's own `LLM`, `sleeps` says that it sleeps between batches."""

    llm: Any
    info: dict[str, Any]
    sleeps: bool = False

    def __call__(self, role: ModelRole, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Rollout]]:
        """Answers to each prompt, one for each of its keys; see `Sampler`."""
        answers = []
        with self._awake(role):
            for part in _parts(prompts):
                settings = [_settings(role, prompt, sampling) for prompt in part]
                answers += [[_rollout(output, answer) for answer in output.outputs]
                            for output in self._ask(role, part, settings)]  # fmt: skip
        return answers

    def prompt_ids(self, role: ModelRole, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The prompts as vLLM reads them, images expanded to their tokens."""
        with self._awake(role):
            settings = [_settings(role, prompt, Sampling(1)) for prompt in prompts]
            return [list(output.prompt_token_ids) for output in self._ask(role, prompts, settings)]

    def close(self) -> None:
        """Stop vLLM, unless it shares its process group with other trainers."""
        if self.llm not in SHARING:
            self.llm.llm_engine.engine_core.shutdown()

    @contextmanager
    def _awake(self, role: ModelRole) -> Iterator[None]:
        """vLLM with the weights that the role's model has now. They come before the cache: less memory at the peak."""
        from gapbench.distillation.vllm.weights import push

        if self.sleeps:
            torch.cuda.empty_cache()  # vLLM's memory is not torch's, which would keep what it has no use for
            self.llm.wake_up(tags=["weights"])
        push(self.llm, published_weights(role.model))
        if self.sleeps:
            self.llm.wake_up(tags=["kv_cache"])
        try:
            yield
        finally:
            if self.sleeps:
                self.llm.sleep(level=2)  # weights are forgotten, not kept: they are old by the next time

    def _ask(self, role: ModelRole, prompts: Sequence[Prompt], settings: Sequence[Any]) -> list[Any]:
        """vLLM's outputs, in order."""
        talks = []
        for prompt in prompts:
            shown = {"type": "image_pil", "image_pil": prompt.image}
            content = [shown, {"type": "text", "text": role.chat.escape(prompt.text)}]
            talks.append([{"role": "user", "content": content}])
        try:
            found: list[Any] = self.llm.chat(
                talks,
                list(settings),
                use_tqdm=False,
                chat_template=chat_template_of(role.chat.processor),
                chat_template_kwargs=dict.fromkeys(role.chat.switches, False),
            )
        except Exception as error:
            raise ModelError(
                f"use_vllm: vLLM gave no rollouts ({error_line(error)}). If the prompt is too long: lower max_pixels, "
                "or vllm_engine_args={max_model_len: N}. If its messages above speak of memory: lower "
                "vllm_gpu_memory_utilization. use_vllm=false works without it."
            ) from error
        return found


def start(
    model: str, recipe: Recipe, precision: str, revision: str | None = None, trust_remote_code: bool = False,
    processes: int = 1,
) -> VllmSampler:  # fmt: skip
    """vLLM with `model`, asleep where it can sleep. `precision` is the trainer's, `processes` how many trainers run.

    Raises ModelError or SettingError.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ModelError("use_vllm: vLLM is not installed. pip install 'gapbench[vllm]', or set use_vllm=false.")
    from gapbench.engines.vllm.starting import CPU_CACHE_BYTES, import_vllm

    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over within this process
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
        "load_format": "safetensors",  # vLLM's own default reads pickles where there is nothing else
        "max_model_len": -1,  # what fits into memory, at most what the model was made for
        "limit_mm_per_prompt": {"image": 1, "video": 0, "audio": 0},
        "use_tqdm_on_load": False,
        "gpu_memory_utilization": recipe.vllm_gpu_memory_utilization,
        "enable_sleep_mode": sleeps,
        # On a CPU a draw with a seed cannot be taken back, as vLLM does after each piece of a prompt that it reads.
        **({"enforce_eager": True, "enable_chunked_prefill": False} if on_cpu else {}),
        **({"kv_cache_memory_bytes": CPU_CACHE_BYTES} if on_cpu and "VLLM_CPU_KVCACHE_SPACE" not in os.environ else {}),
        # As many engines as trainers, each in the process, the process group and on the GPU of its trainer.
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
            f"Model {model}: vLLM could not start it ({error_line(error)}). Its own messages above say why. For want "
            "of memory beside the trainer: lower vllm_gpu_memory_utilization, or vllm_engine_args={max_model_len: N}. "
            "use_vllm=false works without it."
        ) from error
    if processes > 1:
        SHARING.append(llm)
    llm.init_weight_transfer_engine({"init_info": {}})
    if sleeps:
        llm.sleep(level=2)
    info = {"engine": "vllm", "vllm": vllm.__version__, "dtype": precision, "sleeps": sleeps,
            "engine_args": dict(recipe.vllm_engine_args)}  # fmt: skip
    return VllmSampler(llm, info, sleeps)


def stop_sharing() -> None:
    """Stop the engines of several trainers, and their process group, when nothing is left to be done together."""
    while SHARING:
        SHARING.pop().llm_engine.engine_core.shutdown()


def _settings(role: ModelRole, prompt: Prompt, sampling: Sampling) -> Any:
    """vLLM's settings for all answers to one prompt; the seed of the n-th is the first one's plus n."""
    from vllm import SamplingParams

    return SamplingParams(
        n=len(prompt.keys),
        seed=prompt.keys[0],
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_new_tokens,
        logprobs=0,  # of the token drawn alone
        logit_bias={token: NEVER for token in role.suppressed if token < role.vocabulary} or None,
        ignore_eos=True,  # vLLM's own idea of it
        stop_token_ids=list(role.ends),
        detokenize=False,
    )


def _rollout(output: Any, answer: Any) -> Rollout:
    if answer.finish_reason not in ("stop", "length"):
        raise ModelError(f"use_vllm: vLLM gave a rollout up (finish reason {answer.finish_reason!r}).")
    logps = (entry[token].logprob for token, entry in zip(answer.token_ids, answer.logprobs, strict=True))
    return Rollout(
        tuple(answer.token_ids), tuple(logps), answer.finish_reason == "length", len(output.prompt_token_ids)
    )


def _parts(prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
    """Prompts in order, of at most `PIXELS` together (one may exceed it alone)."""
    part: list[Prompt] = []
    pixels = 0
    for prompt in prompts:
        own = prompt.image.width * prompt.image.height
        if part and pixels + own > PIXELS:
            yield part
            part, pixels = [], 0
        part.append(prompt)
        pixels += own
    if part:
        yield part
