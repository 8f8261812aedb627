"""A model judges the answers that no rule decided. The records do not change.

    run = gapbench.measure("glance", "signs", judge=Judge("http://localhost:8000/v1", "openai/gpt-oss-120b"))
    judge = Judge("https://example.org/v1", "openai/gpt-oss-120b", api_key_env="JUDGE_API_KEY")
    gapbench.commands.judge.judge_run(Path("runs/glance"), judge)

Any OpenAI-compatible server can be the judge. It gets the question, options, reference answers and the model's answer
as quoted text, without the image, and replies yes, no or cannot tell as a structured output (`prompt`). Two questions
with an obvious verdict come first, so that an unreachable server or an unfit model is found before the run
(`connection`). Then the judge is asked once for each combination of question, references and answer
(`gapbench.commands.judge`).

How good a judge is, `gapbench.judging.examination` measures on answers whose verdict is known.

Every verdict is a line of `judgements.jsonl`. Summaries and reports apply these lines to the records
(`gapbench.runs.judgements`):

| verdict | outcome |
|---|---|
| yes, no | right, wrong; the rule is `judge` |
| cannot tell | unparsed, as before, with the judge in the reason |
| none, after all tries | `judge_failed`; scores 0 as unparsed does, and is counted separately |

Limits: a judge may be wrong, and another judge changes results by points, so compare only runs with the same judge. An
answer that is empty, or that ends within its thinking, holds nothing to read and is not judged. The judge is asked at
temperature 0; a model whose server refuses that cannot judge.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judge:
    """A judge: `model` on the server at `url`, under the name that this server gives it.

    `api_key_env` names the environment variable that holds the server's key. `timeout` is in seconds; `backoff` is the
    longest wait before the second try, in seconds; `tries` is per question. Only the model decides what a verdict
    means, so the other settings may differ when a run is continued.
    """

    url: str
    model: str
    api_key_env: str = ""
    timeout: float = 300.0
    tries: int = 8
    backoff: float = 0.5
