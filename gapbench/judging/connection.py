"""Connects to a judge, tests it, and identifies it.

    connection = connect(Judge("http://localhost:8000/v1", "openai/gpt-oss-120b"))
    connection.identity     # for run.json: model, its name in the server's answers, prompt hash, temperature

The server engine sends the prompts, so a judge gets the same retries, backoff and concurrency as a measured model, and
no text holds its key. If a server does not support structured outputs, only the prompt asks for the format.

Limits: a server can give a model any name, so the same name does not prove the same weights.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gapbench.engines.options import Generation, validated
from gapbench.engines.server import ServerEngine, ServerOptions, load
from gapbench.errors import GapbenchError, ModelError
from gapbench.judging import Judge
from gapbench.judging.prompt import PLAIN, SCHEMA, JudgeVerdict, prompt, prompt_hash, read_verdict
from gapbench.types import Answer, Request
from gapbench.views.pixels import Pixels

MAX_NEW_TOKENS = 2048
"""A verdict takes about ten tokens. Models that always think first need more, and a reply that is cut off is no
verdict."""
TEMPERATURE = 0.0
FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA}}


@dataclass(frozen=True)
class Judgement:
    """A judge's reply, with its `verdict`, or None with the reason in the reply's `error`.

    `refused` says that there is no reply to read: the server gave none.
    """

    verdict: JudgeVerdict | None
    reply: Answer
    refused: bool = False


@dataclass(frozen=True)
class Connection:
    """A judge that can be asked. `identity` holds what a verdict depends on, JSON-ready and without a URL."""

    engine: ServerEngine
    identity: Mapping[str, Any]

    def ask(self, prompts: Iterable[tuple[str, str]]) -> Generator[tuple[str, Judgement], None, None]:
        """Yield (key, judgement) for each (key, prompt), in any order. Raises ModelError as the server engine does."""
        try:
            for key, answer in self.engine.generate(Request(key, (), text) for key, text in prompts):
                yield str(key), _judgement(answer)
        except GapbenchError as error:
            raise _with_judge_options(error) from error


def connect(judge: Judge) -> Connection:
    """Connect to the judge and test it with two questions whose verdict is obvious.

    Raises SettingError for invalid settings, and ModelError if the server cannot be reached or refuses the request, or
    if its model gives no verdict or a wrong one.
    """
    connection = untested(judge)
    judgements = dict(connection.ask((str(number), prompt(record)) for number, (record, _) in enumerate(PLAIN)))
    for number, (record, expected) in enumerate(PLAIN):
        judgement = judgements[str(number)]
        if judgement.refused:
            raise ModelError(
                f"--judge-model {judge.model}: a test question was not answered; {judgement.reply.error} "
                "Look at that server's log, and check --judge and --judge-model."
            )
        if judgement.verdict != expected:
            reply = f"it says {judgement.verdict!r}" if judgement.verdict else judgement.reply.error
            raise ModelError(
                f"--judge-model {judge.model}: it cannot judge. Asked whether {record['output']!r} means "
                f"{' or '.join(record['answers'])!r}, {reply}; expected {expected!r}. Choose a model that follows "
                "instructions, on a server that supports structured outputs (response_format)."
            )
    names = {judgement.reply.model for judgement in judgements.values() if judgement.reply.model}
    return replace(connection, identity={**connection.identity, "served_as": ", ".join(sorted(names))})


def untested(judge: Judge) -> Connection:
    """Connect to the judge without a test. Its identity lacks the name in the server's answers.

    Raises SettingError for invalid settings, and ModelError if the server cannot be reached or refuses the key.
    """
    settings = {"base_urls": (judge.url,), "api_key_env": judge.api_key_env, "timeout": judge.timeout,
                "tries": judge.tries, "backoff": judge.backoff, "extra": {"response_format": FORMAT}}  # fmt: skip
    try:
        options = validated(ServerOptions, settings)
        engine = load(judge.model, Generation(MAX_NEW_TOKENS, TEMPERATURE), Pixels(), options)
    except GapbenchError as error:
        raise _with_judge_options(error) from error
    identity = {
        "model": judge.model,
        "served_as": "",
        "prompt_sha256": prompt_hash(),
        "temperature": TEMPERATURE,
        "max_new_tokens": MAX_NEW_TOKENS,
        "thinking": "asked to be off",
    }
    return Connection(engine, identity)


def _judgement(answer: Answer) -> Judgement:
    verdict, error = None, answer.error
    if answer.cut_off:
        error = f"its reply was cut off after {MAX_NEW_TOKENS} tokens"
    elif not error:
        verdict = read_verdict(answer.text)
        error = "" if verdict else f"its reply is no verdict: {answer.text[:200]!r}"
    return Judgement(verdict, replace(answer, error=error), bool(answer.error))


def _with_judge_options(error: GapbenchError) -> GapbenchError:
    """The same error, with the judge's options instead of the engine's."""
    text = str(error).replace("--api-key-env", "--judge-api-key-env").replace("--base-url", "--judge")
    return type(error)(f"The judge: {text}")
