"""Thinking is really off, or said to be on, and a thought is never an answer: one template for each way (CASES)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_models import build

from engines.chat_templates import CASES, SPECIAL, THOUGHT, Case
from engines.loads import server, transformers
from engines.stub_server import HttpRequest, Stub, chat
from gapbench.engines.options import ANSWER_TOKENS, THINKING_TOKENS
from gapbench.engines.thinking import read_thinking
from gapbench.errors import SettingError
from gapbench.runs.session import to_record
from gapbench.scoring.thoughts import opened_in
from gapbench.types import Answer, Request, Sample
from gapbench.views.prepare import PreparedSample

pytestmark = pytest.mark.filterwarnings("ignore:.*lists no model")
IMAGE = Image.new("RGB", (64, 64), "red")
OPTIONS = ("red", "blue")
each_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a template that knows no thoughts."""
    return build("qwen3_vl", tmp_path_factory.mktemp("plain") / "model")


def with_template(plain: Path, folder: Path, case: Case) -> Path:
    """A copy of the model with the case's template."""
    shutil.copytree(plain, folder)
    path = folder / "chat_template.jinja"
    path.write_text(case.template(path.read_text()))
    return folder


def outcome_of(answer: Answer) -> tuple[str, str]:
    """The outcome and the rule of a question whose answer is A."""
    sample = Sample("1", IMAGE, "Which colour?", ("A",), OPTIONS, "letter")
    record = to_record("t", PreparedSample(sample, IMAGE), "full", 0, answer)
    return record.outcome, record.rule


@each_case
def test_a_template_says_how_its_thoughts_are_switched_off(plain: Path, name: str) -> None:
    case = CASES[name]
    thinking = read_thinking(case.template((plain / "chat_template.jinja").read_text()))
    assert thinking.text == case.thinking
    assert thinking.switches == case.switches
    assert thinking.expected == case.thinking.startswith("cannot")
    assert thinking.opened == bool(opened_in(case.prompt_end))


@each_case
def test_the_transformers_engine_prompts_and_reads_every_kind(
    plain: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[name]
    engine = transformers.load(str(with_template(plain, tmp_path / "model", case)))
    assert engine.info["generation"]["thinking"] == case.thinking
    assert engine.generation.tokens == (THINKING_TOKENS if case.thinking.startswith("cannot") else ANSWER_TOKENS)
    tokenizer = engine.loaded.processor.tokenizer
    request = Request("r", (IMAGE,), "Which colour?")
    prompt = tokenizer.decode(engine.prompt_ids(request))
    assert prompt.endswith(case.prompt_end)
    assert "Which colour?" in prompt

    tokenizer.add_special_tokens({"extra_special_tokens": list(SPECIAL)})
    for said, ends in ((case.says.format(THOUGHT), True), (case.cut_off(), False)):
        ids = tokenizer.encode(said, add_special_tokens=False) + [tokenizer.eos_token_id] * ends
        monkeypatch.setattr(engine, "_run", lambda inputs, keys, ids=ids: (__import__("torch").tensor([ids]), [[]]))
        ((_, answer),) = engine.generate([request])
        if ends:
            assert outcome_of(answer)[0] == "right"
            assert (THOUGHT in answer.thought) == ("{}" in case.says)
        elif "{}" in case.says:
            assert outcome_of(answer) == ("unparsed", "thought-cut-off")
            assert answer.cut_off
        assert THOUGHT not in answer.text or "{}" not in case.says
    assert not [entry for entry in caplog.messages if "wargs" in entry], "transformers warns of unknown variables"


def test_a_user_chooses_variables_of_those_that_the_template_reads(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"kwargs enable_thinking: the chat template does not read it.*messages"):
        transformers.load(str(plain), chat_template_kwargs=["enable_thinking=true"])
    folder = with_template(plain, tmp_path / "model", CASES["off by default"])
    engine = transformers.load(str(folder), chat_template_kwargs=["enable_thinking=true"])
    assert engine.info["generation"]["thinking"] == "as chosen (enable_thinking=True)"
    assert engine.generation.tokens == THINKING_TOKENS
    prompt = engine.loaded.processor.tokenizer.decode(engine.prompt_ids(Request("r", (IMAGE,), "?")))
    assert prompt.endswith("<think>\n")


class TemplateServer:
    """A server that renders a template as transformers does, and answers like a model of that kind.

    It hides special tokens unless it is asked not to, as vLLM does, and has no reasoning parser.
    """

    def __init__(self, template: str, case: Case) -> None:
        self.template, self.case, self.prompts, self.finish = template, case, [], "stop"

    def __call__(self, request: HttpRequest, _number: int) -> Any:
        from transformers.utils.chat_template_utils import render_jinja_template

        asked = request.json
        content = [{"type": "image"} if p["type"] == "image_url" else p for p in asked["messages"][0]["content"]]
        rendered, _ = render_jinja_template(
            conversations=[[{"role": "user", "content": content}]], chat_template=self.template,
            add_generation_prompt=True, **asked["chat_template_kwargs"],
        )  # fmt: skip
        self.prompts.append(rendered[0])
        said = self.case.says.format(THOUGHT) if self.finish == "stop" else self.case.cut_off()
        for mark in SPECIAL if asked.get("skip_special_tokens", True) else ():
            said = said.replace(mark, "")
        return chat(said, self.finish)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as running:
        yield running


@each_case
def test_the_server_engine_asks_and_reads_every_kind(plain: Path, tmp_path: Path, name: str, stub: Stub) -> None:
    case = CASES[name]
    folder = with_template(plain, tmp_path / "model", case)
    served = TemplateServer((folder / "chat_template.jinja").read_text(), case)
    stub.reply = served
    engine = server.load(str(folder), base_urls=[stub.url])
    assert engine.info["generation"]["thinking"].startswith(case.thinking)
    request = Request("r", (IMAGE,), "Which colour?")

    ((_, answer),) = engine.generate([request])
    assert served.prompts[-1].endswith(case.prompt_end)
    assert outcome_of(answer)[0] == "right"
    assert (THOUGHT in answer.thought) == ("{}" in case.says)

    served.finish = "length"
    ((_, answer),) = engine.generate([request])
    assert answer.cut_off
    if "{}" in case.says:
        assert outcome_of(answer) == ("unparsed", "thought-cut-off")
