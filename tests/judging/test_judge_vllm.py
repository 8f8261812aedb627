"""A judge behind vLLM's own server: the structured output is asked for and enforced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from engines.vllm_environment import server

from gapbench.errors import ModelError
from gapbench.judging import Judge
from gapbench.judging.connection import FORMAT, connect
from gapbench.judging.prompt import PLAIN, prompt
from gapbench.types import Request

pytestmark = pytest.mark.evidence


def test_vllm_keeps_to_the_form_and_a_random_model_is_no_judge(tiny: Callable[[str], Path]) -> None:
    from engines.loads import server as engines

    with server(str(tiny("qwen3_vl"))) as url:
        requests = [Request(number, (), prompt(row)) for number, (row, _) in enumerate(PLAIN)]
        free = dict(engines.load("tested", base_urls=[url], max_new_tokens=8).generate(requests))
        engine = engines.load("tested", base_urls=[url], max_new_tokens=8, extra={"response_format": FORMAT})
        kept = dict(engine.generate(requests))
        with pytest.raises(ModelError, match="it cannot judge"):
            connect(Judge(url, "tested"))

    assert not engine.client.left_out
    assert all(answer.text.startswith("{") for answer in kept.values())
    assert not any(answer.text.startswith("{") for answer in free.values())
    assert {answer.model for answer in kept.values()} == {"tested"}
