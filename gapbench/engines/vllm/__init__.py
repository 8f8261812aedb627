"""vLLM in this process: continuous batching, for real models on real accelerators.

    options = VllmOptions(tensor_parallel_size=2)
    engine = load("Qwen/Qwen3-VL-4B-Instruct", Generation(max_new_tokens=64), Pixels(), options)
    for key, answer in engine.generate(requests): ...

Requests enter vLLM's queue through `LLM.enqueue_chat`, the first half of `LLM.chat`. A few hundred stay queued, so that
a batch never runs dry. Each answer is yielded as soon as it is complete, so a kill loses only the queue. Meanwhile a
read-ahead thread takes the next requests. Prefix sharing is on: consecutive samples of one image share its tokens. The
chat template, the escaping of control tokens, the thinking switches, the neutral
sampling settings and the decoding of token ids are those of the transformers engine, so the two engines differ only in
the numerics of their kernels.

`tensor_parallel_size` spreads one model over several devices. `data_parallel_size` makes several copies of it: vLLM's
own data-parallel server, which `load` starts on loopback and `close` ends (`gapbench.engines.vllm.serving`). Over
several machines, give each a shard (`gapbench measure … --shard 1/8`, then `gapbench merge`).

Limits: both were run on two CPU cores, and so far never on GPUs. Unless `VLLM_ENABLE_V1_MULTIPROCESSING=0` is set, vLLM
works in child processes, so your own script needs `if __name__ == "__main__":`. This process prepares prompts and
images one after the other, as `LLM.chat` does; a server can use several processes. A model that runs out of memory ends
the run; answers so far are kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gapbench.engines import local, models
from gapbench.engines import options as engine_options
from gapbench.engines.chat import Chat
from gapbench.engines.context import read_refusal
from gapbench.engines.local import KeyedAnswer
from gapbench.engines.options import FROZEN, Flag, Generation, key_values, seed_for
from gapbench.engines.server import ServerEngine
from gapbench.engines.tokens import image_token_id
from gapbench.engines.vllm.serving import serve
from gapbench.engines.vllm.starting import arguments_for, import_vllm, read_chat, start, start_error
from gapbench.errors import ModelError
from gapbench.scoring.thoughts import Tags
from gapbench.types import Request
from gapbench.util.ahead import WaitingTime, read_ahead
from gapbench.util.text import error_line
from gapbench.views.pixels import Pixels

CHUNK, CHUNK_PIXELS = 32, 50_000_000
"""Requests per chunk, and the pixels at which a chunk is closed early. At most two chunks are read ahead."""
QUEUE, QUEUE_PIXELS = 512, 500_000_000
"""Requests in vLLM's queue, and their pixels, at which no more are added."""
RESOURCES = frozenset({"gpu_memory_utilization", "kv_cache_memory_bytes", "max_num_seqs", "max_num_batched_tokens",
                       "cpu_offload_gb"})  # fmt: skip
"""Engine arguments that affect only memory and speed, so a continued run may change them."""


class VllmOptions(BaseModel):
    """The options of this engine."""

    model_config = FROZEN

    dtype: engine_options.Dtype = "auto"
    revision: engine_options.Revision = None
    trust_remote_code: engine_options.TrustRemoteCode = False
    chat_template: engine_options.ChatTemplate = None
    chat_template_kwargs: engine_options.ChatTemplateKwargs = {}
    processor_kwargs: engine_options.ProcessorKwargs = {}
    max_model_len: engine_options.MaxModelLen = None
    reasoning_tags: engine_options.ReasoningTags = ()
    tensor_parallel_size: Annotated[int, Field(ge=1), Flag("devices that share the model", "N", "resources")] = 1
    data_parallel_size: Annotated[int, Field(ge=1), Flag("copies, each on its own devices", "N", "resources")] = 1
    engine_args: Annotated[
        Mapping[str, Any],
        key_values("max_model_len=16384"),
        Flag("an engine argument of vLLM such as max_model_len=16384; repeatable", "KEY=VALUE"),
    ] = {}


@dataclass
class VllmEngine:
    """See the module. Made by `load`. `llm` is vLLM's own `LLM`, `tags` are marks of thoughts, and `info` is the
    engine's part of `run.json`.
    """

    llm: Any
    chat: Chat
    generation: Generation
    tags: Tags = ()
    info: dict[str, Any] = field(default_factory=dict)
    trouble: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        processor = self.chat.processor
        self.image_token = image_token_id(self.llm.model_config.hf_config, processor)
        self._replies = local.Replies(
            self.info["model"], processor.tokenizer, self.image_token, self.info["context_length"], self.tags
        )
        self._busy = 0.0  # seconds of work not yet attributed to an answer
        self._waited = WaitingTime()

    def generate(self, requests: Iterable[Request]) -> Iterator[KeyedAnswer]:
        """Answers as they are completed. A request that vLLM refuses comes back with `error`.

        Raises ModelError if vLLM dies. Fails fast: raises ModelError if vLLM refuses the first `FAIL_FAST_AFTER`
        requests.
        """
        yield from local.hold_leading_errors(self._answers(requests))

    def _answers(self, requests: Iterable[Request]) -> Generator[KeyedAnswer, None, None]:
        queue: dict[str, KeyedAnswer] = {}
        try:
            chunks = local.chunks(requests, repeat(CHUNK), CHUNK_PIXELS)
            for chunk in read_ahead(chunks, 2, lambda: not queue, self._waited):
                for request in chunk or ():
                    yield from self._submit(request, queue)
                while queue and (chunk is None or _full(queue)):
                    yield from self._step(queue)
                    chunk = ()
            while queue:
                yield from self._step(queue)
        finally:
            if queue:
                with suppress(Exception):  # the user should see the error that ended the loop
                    self.llm.llm_engine.abort_request([*queue])

    @property
    def waited(self) -> float:
        """Seconds that vLLM spent waiting for images."""
        return self._waited.seconds

    def close(self) -> None:
        """End vLLM's processes, and free the device's memory."""
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm

    allow = local.allow

    def prompt_ids(self, request: Request) -> list[int]:
        """The token ids of the prompt, with images expanded to their tokens."""
        return list(self._first_token(request).prompt_token_ids)

    def next_logprobs(self, request: Request) -> dict[int, float]:
        """Log-probabilities (nats) of the `TOP_TOKENS` likeliest first tokens of the answer."""
        logprobs = self._first_token(request).outputs[0].logprobs[0]
        return {token: float(entry.logprob) for token, entry in logprobs.items()}

    def _first_token(self, request: Request) -> Any:
        """vLLM's output for this request alone, with one new token."""
        self._enqueue(request, 1, local.TOP_TOKENS)
        while self.llm.llm_engine.has_unfinished_requests():
            if outputs := self.llm.llm_engine.step():
                return outputs[0]
        raise ModelError(f"Model {self.info['model']}: vLLM returned no answer to a request.")

    def _submit(self, request: Request, queue: dict[str, KeyedAnswer]) -> Iterator[KeyedAnswer]:
        """Add one request to vLLM's queue, or yield the answer with the error."""
        if request.error:
            yield request.key, local.failed(request, request.error)
            return
        started = time.perf_counter()
        try:
            sure = self.generation.confidence and not self.generation.temperature
            number = self._enqueue(request, self.generation.tokens, 0 if sure else None)
        except Exception as error:
            from vllm.v1.engine.exceptions import EngineDeadError

            if isinstance(error, EngineDeadError):
                raise self._died(error) from error
            reason = f"vLLM refused {local.failure_details(request, error)}"
            if refusal := read_refusal(str(error)):
                yield request.key, self._replies.too_long(request, refusal.prompt, refusal.context)
            else:
                yield request.key, self._replies.refusal(request, reason, error)
            return
        self._replies.refused = None
        queue[number] = request.key, local.shown(request)
        self._busy += time.perf_counter() - started

    def _enqueue(self, request: Request, max_new_tokens: int, logprobs: int | None = None) -> str:
        """Add a request to vLLM's queue and return vLLM's id for it.

        Its sampling settings are neutral. With a temperature it has a seed of its own: repeats of one sample must
        differ, but one repeat must give the same answer in any batch.
        """
        from vllm import SamplingParams

        temperature = self.generation.temperature
        seed = seed_for(self.generation.seed, request.key, 32) if temperature > 0 else None
        sampling = SamplingParams(
            temperature=temperature, max_tokens=max_new_tokens, logprobs=logprobs, seed=seed, detokenize=False
        )
        numbers = self.llm.enqueue_chat(
            self.chat.conversation(request.images, request.prompt, "image_pil"),
            sampling,
            use_tqdm=False,
            chat_template=self.chat.processor.chat_template,
            chat_template_kwargs=dict(self.chat.thinking.switches),
        )
        return str(numbers[0]).partition("-")[0]  # vLLM says 17-9f31c0aa here, and 17 when the answer comes

    def _step(self, queue: dict[str, KeyedAnswer]) -> Iterator[KeyedAnswer]:
        """Run vLLM's next step and yield the answers that it completes."""
        started = time.perf_counter()
        try:
            done = [output for output in self.llm.llm_engine.step() if output.finished]
        except Exception as error:
            raise self._died(error) from error
        self._busy += time.perf_counter() - started
        if not done:
            return
        seconds, self._busy = self._busy / len(done), 0.0
        for output in done:
            key, shown = queue.pop(output.request_id)
            reason, ids = output.outputs[0].finish_reason, list(output.outputs[0].token_ids)
            if reason not in ("stop", "length"):
                yield key, replace(shown, error=f"vLLM aborted the request (finish reason {reason!r}).")
                continue
            cut_off = reason == "length"
            output_ids = ids if cut_off else ids[:-1]
            answer = self._replies.answer(shown, output.prompt_token_ids, output_ids, cut_off, seconds)
            logprobs = zip(ids, output.outputs[0].logprobs or (), strict=False)
            least = min((entry[token].logprob for token, entry in logprobs), default=None)
            yield key, answer if least is None else replace(answer, confidence=math.exp(least))

    def _died(self, error: Exception) -> ModelError:
        return ModelError(
            f"Model {self.info['model']}: vLLM stopped working ({error_line(error)}). If its "
            "own messages above mention memory, lower --engine-args gpu_memory_utilization=0.85 or max_num_seqs=64, "
            "or raise --tensor-parallel-size. Answers so far are kept; the same command continues, also with "
            "these settings changed."
        )


def load(model: str, generation: Generation, pixels: Pixels, options: VllmOptions) -> VllmEngine | ServerEngine:
    """The engine for `model` (Hub id, folder or `glance`).

    `engine_args` are vLLM's own (`max_model_len`, `gpu_memory_utilization`, `quantization`, ...). They override these
    defaults: prefix caching, safetensors only, the longest prompt that fits into memory, no video or audio. `dtype`
    auto is as published on an accelerator, float32 on a CPU. Raises ModelError or SettingError.
    """
    source = models.resolve(model)
    if "load_format" not in options.engine_args:  # else the user decides what is read
        models.refuse_pickles(model, source, options.revision)
    on_cpu = import_vllm(options.engine_args)
    chat = read_chat(model, source, options)
    generation = generation.for_model(chat.thinking.expected)
    arguments = arguments_for(source, options, generation.seed, on_cpu)
    info = {"engine": "vllm", **local.shared_info(model, chat, generation, pixels, options)}
    own_args = info["options"].pop("engine_args", {})
    info["resources"] |= {name: own_args.pop(name) for name in [*own_args] if name in RESOURCES}
    if own_args:
        info["options"]["engine_args"] = own_args
    from vllm import EngineArgs

    try:
        llm = start(arguments) if options.data_parallel_size == 1 else None
        # The server's configuration is that of the same arguments. Making it loads no weights.
        config = llm.llm_engine.vllm_config if llm else EngineArgs(**arguments).create_engine_config()
    except Exception as error:
        raise start_error(model, error) from error
    info |= {
        **models.identity(source, options.revision, config.model_config.hf_config),
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "device": str(config.device_config.device_type),
        "context_length": int(config.model_config.max_model_len),
        "prefix_caching": bool(config.cache_config.enable_prefix_caching),
    }
    if llm is None:
        arguments["data_parallel_size"] = options.data_parallel_size
        return serve(chat, arguments, generation, pixels, info, options.reasoning_tags)
    return VllmEngine(llm, chat, generation, options.reasoning_tags, info)


def _full(queue: Mapping[str, KeyedAnswer]) -> bool:
    return len(queue) >= QUEUE or sum(answer.sent_pixels or 0 for _, answer in queue.values()) >= QUEUE_PIXELS
