"""Reaching a judge, and finding out who it is.

    met = connect(Judge("http://localhost:8000/v1", "openai/gpt-oss-120b"))
    met.identity        # what run.json keeps: model, its name in the server's answers, prompt hash, temperature

A judge is asked through the server engine, so it is asked as any model is: retries, backoff, as much at once as helps,
no key in any text. Where a server does not know structured outputs, the prompt alone asks for one.

Limits: servers name a model as they like; the same name is no proof of the same weights.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gapbench.engines.server import ServerEngine, load
from gapbench.errors import GapbenchError, ModelError
from gapbench.judging import Judge
from gapbench.judging.prompt import PLAIN, SCHEMA, JudgeVerdict, prompt, prompt_hash, read_verdict
from gapbench.types import Answer, Request

MAX_NEW_TOKENS = 2048
"""A verdict takes ten; models that cannot but think first take more, and what is cut off is no verdict."""
TEMPERATURE = 0.0
FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}


@dataclass(frozen=True)
class Judgement:
    """A judge's reply: its `verdict`, or None with the reason in `error`; `text` as it was; `seconds` it took; and what
    the server calls the `model` that gave it."""

    verdict: JudgeVerdict | None
    text: str
    error: str
    seconds: float | None
    model: str


@dataclass(frozen=True)
class Connection:
    """A judge that was reached and judges. `identity` is what a verdict depends on, JSON-ready and without a URL."""

    engine: ServerEngine
    identity: Mapping[str, Any]

    def ask(self, prompts: Iterable[tuple[str, str]]) -> Generator[tuple[str, Judgement], None, None]:
        """(key, judgement) for each (key, prompt), in any order. Raises ModelError as the server engine does."""
        try:
            for key, answer in self.engine.generate(Request(key, (), text) for key, text in prompts):
                yield str(key), _judgement(answer)
        except GapbenchError as error:
            raise _reworded(error) from error


def connect(judge: Judge) -> Connection:
    """Reach the judge and ask it two questions whose verdict is plain.

    Raises SettingError for settings that cannot be, and ModelError for a server that is not reached, refuses us, or
    whose model gives no verdict or the wrong one.
    """
    try:
        engine = load(judge.model, base_urls=[judge.url], api_key_env=judge.api_key_env, max_new_tokens=MAX_NEW_TOKENS,
                      temperature=TEMPERATURE, timeout=judge.timeout, tries=judge.tries, backoff=judge.backoff,
                      extra={"response_format": FORMAT})  # fmt: skip
        asked = engine.generate(Request(i, (), prompt(row)) for i, (row, _) in enumerate(PLAIN))
        answers = [answer for _, answer in sorted(asked, key=lambda one: str(one[0]))]
    except GapbenchError as error:
        raise _reworded(error) from error
    for (row, wanted), answer in zip(PLAIN, answers, strict=True):
        found = _judgement(answer)
        if answer.error:
            raise ModelError(
                f"--judge-model {judge.model}: a plain question was not answered; {answer.error} "
                "Look at that server's log, and check --judge and --judge-model."
            )
        if found.verdict != wanted:
            said = f"it says {found.verdict!r}" if found.verdict else found.error
            raise ModelError(
                f"--judge-model {judge.model}: it cannot judge. Asked whether {row['output']!r} means "
                f"{' or '.join(row['answers'])!r}, {said}; expected {wanted!r}. Choose a model that follows "
                "instructions, on a server that knows structured outputs (response_format)."
            )
    identity = {
        "model": judge.model,
        "served_as": ", ".join(sorted({answer.model for answer in answers if answer.model})),
        "prompt_sha256": prompt_hash(),
        "temperature": TEMPERATURE,
        "max_new_tokens": MAX_NEW_TOKENS,
        "thinking": "asked to be off",
    }
    return Connection(engine, identity)


def _judgement(answer: Answer) -> Judgement:
    verdict, error = None, answer.error
    if answer.truncated:
        error = f"its reply was cut off after {MAX_NEW_TOKENS} tokens"
    elif not error:
        verdict = read_verdict(answer.text)
        error = "" if verdict else f"its reply is no verdict: {answer.text[:200]!r}"
    return Judgement(verdict, answer.text, error, answer.seconds, answer.model)


def _reworded(error: GapbenchError) -> GapbenchError:
    """The same error with the judge's options in the place of the engine's."""
    text = str(error).replace("--api-key-env", "--judge-api-key-env").replace("--base-url", "--judge")
    return type(error)(f"The judge: {text}")
