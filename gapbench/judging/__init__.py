"""A model judges the answers that no rule decided; the records stay as rules left them.

    run = gapbench.measure("glance", "signs", judge=Judge("http://localhost:8000/v1", "openai/gpt-oss-120b"))
    judge_run(Path("runs/glance"), Judge("https://example.org/v1", "openai/gpt-oss-120b", api_key_env="JUDGE_API_KEY"))

Any OpenAI-compatible server will do. It is shown question, options, reference answers and the model's answer as quoted
text, no image, and says yes, no or cannot tell in a structured output (`prompt`). Two questions with a plain verdict
come first: a server that cannot be reached, or a model that cannot judge, is found before any time is spent
(`connection`). Then each question with the same reference and the same answer is asked once
(`gapbench.commands.judge`).

Every verdict is a line of `judgements.jsonl`, which summaries and reports lay over the records
(`gapbench.runs.judgements`):

| verdict | outcome |
|---|---|
| yes, no | right, wrong; the rule is `judge` |
| cannot tell | unparsed, as before, with the judge in the reason |
| none, after all tries | `judge_failed`; scores 0 as unparsed does, and is counted apart |

Limits: a judge may be wrong, and who judges changes results by points: compare runs that had the same judge.
An answer that is empty, or that ends within its thinking, is not judged: there is nothing to be read.
Verdicts are asked for at temperature 0; a model whose server refuses that cannot judge.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Judge:
    """Who judges: `model`, as the server at `url` calls it; `api_key_env` names the variable that holds its key.

    `timeout` and `backoff` (before the second try, at most) are in seconds, `tries` is per question. Only the model
    decides what a verdict means; all else may differ when a run is continued.
    """

    url: str
    model: str
    api_key_env: str = ""
    timeout: float = 300.0
    tries: int = 8
    backoff: float = 0.5
