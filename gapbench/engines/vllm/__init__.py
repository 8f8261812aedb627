"""vLLM in this process: continuous batching, for real models on real accelerators.

    engine = load("Qwen/Qwen3-VL-4B-Instruct", max_new_tokens=64, tensor_parallel=2)
    for key, answer in engine.generate(requests): ...

Requests enter vLLM's queue through `LLM.enqueue_chat`, the first half of `LLM.chat`. A few hundred stay queued, so that
a batch never runs dry. Each answer is yielded as soon as it is complete, so a kill loses only the queue. Meanwhile a
read-ahead thread decodes images and brings them within the pixel bounds. Prefix sharing is on: consecutive samples of
one image share its tokens. The chat template, the escaping of control tokens, the thinking switches, the neutral
sampling settings and the decoding of token ids are those of the transformers engine, so the two engines differ only in
the numerics of their kernels.

`tensor_parallel` spreads one model over several devices. Several copies of a model (data parallelism) need several
processes: one shard each (`CUDA_VISIBLE_DEVICES=0 gapbench measure … --shard 1/8`, then `gapbench merge`), or vLLM's
server (`vllm serve MODEL --data-parallel-size 8`) behind `--engine server`.

Limits: both were run on two CPU cores, and so far never on GPUs. Unless `VLLM_ENABLE_V1_MULTIPROCESSING=0` is set, vLLM
works in child processes, so your own script needs `if __name__ == "__main__":`. This process prepares prompts and
images one after the other, as `LLM.chat` does; a server can use several processes. A model that runs out of memory ends
the run; answers so far are kept.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gapbench.engines import models
from gapbench.engines.chat import chat_template_source, thinking_switches
from gapbench.engines.fail_fast import FAIL_FAST_AFTER, KeyedAnswer, hold_leading_errors
from gapbench.engines.tokens import image_token_id, special_token_escaper
from gapbench.engines.transformers import TOP_TOKENS, failure_details, processor_size
from gapbench.engines.vllm.starting import import_vllm, read_processor, start
from gapbench.errors import ModelError, SettingError
from gapbench.types import Answer, Request
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


@dataclass
class VllmEngine:
    """See the module. Made by `load`. `info` is the engine's part of `run.json`; `llm` is vLLM's own `LLM`."""

    llm: Any
    processor: Any
    chat_template: str | None
    pixels: Pixels
    max_new_tokens: int
    temperature: float
    seed: int
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        config = self.llm.model_config.hf_config
        loaded = models.Loaded(self.info["model"], SimpleNamespace(config=config), self.processor, "", "")
        self._decode = tokenizer.decode
        self._escape = special_token_escaper(tokenizer)
        self._switches = thinking_switches(self.chat_template)
        self._image_token = image_token_id(loaded)
        self._failures: int | None = 0  # None once a request was accepted: then the samples are at fault, not the model
        self._last: tuple[Any, Any] = None, None  # the last sampling settings, and vLLM's object for them
        self._busy = 0.0  # seconds of work not yet attributed to an answer
        self._waited = WaitingTime()

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        """Answers as they are completed. A request that vLLM refuses comes back with `error`.

        Raises ModelError if vLLM dies. Fails fast: raises ModelError if vLLM refuses the first `FAIL_FAST_AFTER`
        requests.
        """
        yield from hold_leading_errors(self._answers(requests))

    def _answers(self, requests: Iterable[Request]) -> Generator[KeyedAnswer, None, None]:
        queue: dict[str, tuple[Hashable, Answer]] = {}
        try:
            for chunk in read_ahead(self._chunks(requests), 2, lambda: not queue, self._waited):
                for request in chunk or ():
                    if failed_answer := self._submit(request, queue):
                        yield request.key, failed_answer
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

    def prompt_ids(self, request: Request) -> list[int]:
        """The token ids of the prompt, with images expanded to their tokens."""
        return list(self._first_token(request).prompt_token_ids)

    def next_logprobs(self, request: Request) -> dict[int, float]:
        """Log-probabilities (nats) of the `TOP_TOKENS` likeliest first tokens of the answer."""
        logprobs = self._first_token(request).outputs[0].logprobs[0]
        return {token: float(entry.logprob) for token, entry in logprobs.items()}

    def _first_token(self, request: Request) -> Any:
        """vLLM's output for this request alone, with one new token."""
        (sized,) = next(self._chunks([request]))
        self._enqueue(sized, 1, TOP_TOKENS)
        while self.llm.llm_engine.has_unfinished_requests():
            if outputs := self.llm.llm_engine.step():
                return outputs[0]
        raise ModelError(f"Model {self.info['model']}: vLLM returned no answer to a request.")

    def _chunks(self, requests: Iterable[Request]) -> Iterator[list[Request]]:
        """Chunks of requests, with their images within the pixel bounds."""
        chunk: list[Request] = []
        for request in requests:
            chunk.append(replace(request, images=tuple(map(self.pixels.apply, request.images))))
            if len(chunk) >= CHUNK or sum(r.pixels for r in chunk) >= CHUNK_PIXELS:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _submit(self, request: Request, queue: dict[str, tuple[Hashable, Answer]]) -> Answer | None:
        """Add one request to vLLM's queue and return None, or return the answer with the error."""
        if request.error:
            return Answer(error=request.error)
        started = time.perf_counter()
        try:
            number = self._enqueue(request, self.max_new_tokens)
        except Exception as error:
            if _is_dead(error):
                raise self._died(error) from error
            return Answer(images=len(request.images), error=self._error_text(request, error))
        self._failures = None
        queue[number] = (
            request.key,
            Answer(
                images=len(request.images),
                sent_size=request.images[0].size if request.images else None,
                sent_pixels=request.pixels if request.images else None,
            ),
        )
        self._busy += time.perf_counter() - started
        return None

    def _enqueue(self, request: Request, max_new_tokens: int, logprobs: int | None = None) -> str:
        """Add a request to vLLM's queue and return vLLM's id for it."""
        sampling = self._sampling(request.key, max_new_tokens, logprobs)
        image_parts = [{"type": "image_pil", "image_pil": image} for image in request.images]
        content = [*image_parts, {"type": "text", "text": self._escape(request.prompt)}]
        numbers = self.llm.enqueue_chat(
            [{"role": "user", "content": content}],
            sampling,
            use_tqdm=False,
            chat_template=self.chat_template,
            chat_template_kwargs=dict.fromkeys(self._switches, False),
        )
        return str(numbers[0]).partition("-")[0]  # vLLM says 17-9f31c0aa here, and 17 when the answer comes

    def _sampling(self, key: Hashable, max_new_tokens: int, logprobs: int | None) -> Any:
        """vLLM's neutral settings; with a temperature, a seed for each request.

        Repeats of one sample must differ, but one repeat must give the same answer in any batch.
        """
        from vllm import SamplingParams

        digest = hashlib.sha256(f"{self.seed} {key!r}".encode()).hexdigest()
        seed = int(digest[:8], 16) if self.temperature > 0 else None
        settings = max_new_tokens, logprobs, seed
        if settings != self._last[0]:
            self._last = (
                settings,
                SamplingParams(
                    temperature=self.temperature,
                    max_tokens=max_new_tokens,
                    logprobs=logprobs,
                    seed=seed,
                    detokenize=False,
                ),
            )
        return self._last[1]

    def _step(self, queue: dict[str, tuple[Hashable, Answer]]) -> Iterator[tuple[Hashable, Answer]]:
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
            key, partial_answer = queue.pop(output.request_id)
            yield key, self._answer(partial_answer, output, seconds)

    def _answer(self, partial_answer: Answer, output: Any, seconds: float) -> Answer:
        prompt_ids, completion = output.prompt_token_ids, output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            return replace(
                partial_answer, error=f"vLLM aborted the request (finish reason {completion.finish_reason!r})."
            )
        output_ids = list(completion.token_ids)
        answer_ids = output_ids[:-1] if completion.finish_reason == "stop" else output_ids
        text = self._decode(answer_ids, skip_special_tokens=True)
        return replace(
            partial_answer,
            text=text.encode("utf-8", "replace").decode(),
            image_tokens=prompt_ids.count(self._image_token) if self._image_token is not None else None,
            prompt_tokens=len(prompt_ids),
            output_tokens=len(output_ids),
            seconds=seconds,
            truncated=completion.finish_reason == "length",
        )

    def _error_text(self, request: Request, error: Exception) -> str:
        """The error text of a refused request. Raises ModelError if the engine should fail fast."""
        if re.search("maximum (model|context) length", str(error)):
            reason = f"the prompt is too long ({error}). Lower --max-pixels, or --engine-args max_model_len=N."
        else:
            reason = f"vLLM refused {failure_details(request, error)}"
        if self._failures is not None and len(request.images) < 2:
            self._failures += 1
            if self._failures >= FAIL_FAST_AFTER:
                raise ModelError(
                    f"Model {self.info['model']}: failing fast, because nothing was answered; {reason}"
                ) from error
        return reason

    def _died(self, error: Exception) -> ModelError:
        return ModelError(
            f"Model {self.info['model']}: vLLM stopped working ({error_line(error)}). If its "
            "own messages above mention memory, lower --engine-args gpu_memory_utilization=0.85 or max_num_seqs=64, "
            "or raise --tensor-parallel. Answers so far are kept; the same command continues, also with "
            "these settings changed."
        )


def load(
    model: str,
    *,
    dtype: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    chat_template: Path | None = None,
    pixels: Pixels | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    processor_kwargs: Mapping[str, Any] | None = None,
    tensor_parallel: int = 1,
    engine_args: Mapping[str, Any] | None = None,
) -> VllmEngine:
    """The engine for `model` (Hub id, folder or `glance`), on `tensor_parallel` devices.

    `engine_args` are vLLM's own (`max_model_len`, `gpu_memory_utilization`, `quantization`, ...). They override these
    defaults: prefix caching, safetensors only, the longest prompt that fits into memory, no video or audio. `dtype`
    auto is as published on an accelerator, float32 on a CPU. Raises ModelError or SettingError.
    """
    user_args = dict(engine_args or {})
    if max_new_tokens < 1 or temperature < 0 or tensor_parallel < 1:
        raise SettingError(
            f"--max-new-tokens {max_new_tokens}, --temperature {temperature}, --tensor-parallel {tensor_parallel}: "
            "expected at least 1, at least 0 and at least 1."
        )
    if dtype not in models.DTYPES:
        raise SettingError(f"--dtype {dtype}: expected one of {', '.join(models.DTYPES)}.")
    source = models.resolve(model)
    on_cpu = import_vllm(user_args)
    pixels = pixels or Pixels()
    processor, template = read_processor(model, source, revision, trust_remote_code, chat_template)
    load_dtype = "float32" if dtype == "auto" and on_cpu else dtype
    llm = start(
        model,
        {
            "enable_prefix_caching": True,
            "load_format": "safetensors",  # vLLM's own default falls back to pickles
            "max_model_len": -1,  # the longest that fits into memory, up to the model's own limit
            "limit_mm_per_prompt": {"video": 0, "audio": 0},
            "use_tqdm_on_load": False,
            **({"enforce_eager": True} if on_cpu else {}),
            **user_args,
            "model": source,
            "dtype": load_dtype,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            "seed": seed,
            "tensor_parallel_size": tensor_parallel,
            "mm_processor_kwargs": dict(processor_kwargs or {}) or None,
        },
    )
    config = llm.llm_engine.vllm_config
    switches = thinking_switches(template)
    info = {
        "engine": "vllm",
        "model": model,
        **models.identity(source, revision, SimpleNamespace(config=llm.model_config.hf_config)),
        "dtype": str(llm.model_config.dtype).removeprefix("torch."),
        "device": str(config.device_config.device_type),
        "pixels": {"min_pixels": pixels.min_pixels, "max_pixels": pixels.max_pixels,
                   "processor": processor_size(processor), "processor_kwargs": dict(processor_kwargs or {})},
        "generation": {"max_new_tokens": max_new_tokens, "temperature": temperature, "repetition_penalty": 1.0,
                       "thinking": f"off ({', '.join(switches)})" if switches else "the template has no switch"},
        "chat_template": chat_template_source(chat_template),
        "tensor_parallel": tensor_parallel,
        "engine_args": {name: value for name, value in user_args.items() if name not in RESOURCES},
        "resources": {name: value for name, value in user_args.items() if name in RESOURCES},
        "prefix_caching": bool(config.cache_config.enable_prefix_caching),
    }  # fmt: skip
    return VllmEngine(llm, processor, template, pixels, max_new_tokens, temperature, seed, info)


def _full(queue: Mapping[str, tuple[Hashable, Answer]]) -> bool:
    return len(queue) >= QUEUE or sum(answer.sent_pixels or 0 for _, answer in queue.values()) >= QUEUE_PIXELS


def _is_dead(error: Exception) -> bool:
    from vllm.v1.engine.exceptions import EngineDeadError

    return isinstance(error, EngineDeadError)
