"""Ask the vLLM sampler, in the environment that has vLLM: `python ask_rollouts.py MODEL FINDINGS`.

Prompts and settings are those of `small`; what comes back is written as JSON, to be judged by test_vllm_rollouts.py.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from distillation.small import recipe, role, scene
from gapbench.distillation import forward_check
from gapbench.distillation.forward import PLAIN, hidden_states, process
from gapbench.distillation.rollouts import Prompt, Rollout, Sampling, random_key
from gapbench.distillation.student import ModelRole
from gapbench.distillation.teachers import Teacher
from gapbench.distillation.vllm import rollouts as vllm_rollouts
from gapbench.distillation.vllm import weights as vllm_weights
from gapbench.distillation.vllm.exported_weights import published_weights
from gapbench.errors import ModelError

LENGTH, MANY = 8, 1500


def move(model: Any) -> None:
    """As an optimizer would, but far."""
    torch.manual_seed(0)
    for param in model.parameters():
        if param.requires_grad:
            param.data += 0.05 * torch.randn_like(param)


def plain(rollouts: Sequence[Sequence[Rollout]]) -> list[list[dict[str, Any]]]:
    """As JSON."""
    return [[asdict(r) for r in answers] for answers in rollouts]


def main() -> None:
    """Command line."""
    model, findings = sys.argv[1:]
    settings = recipe(use_vllm=True)
    student = role(model, settings)
    sampler = vllm_rollouts.start(model, settings, "float32")
    scenes = [scene(number) for number in range(3)]
    # The second one is longer than a block of vLLM's prefix cache.
    texts = [scenes[0].question, scenes[1].question + " Look closely." * 60, "<|im_end|> Which <|image_pad|> colour?"]
    image_prompts: list[tuple[Any, str]] = [(s.image, text) for s, text in zip(scenes, texts, strict=True)]
    prompts = [Prompt(p, t, tuple(random_key(i, n) for n in range(3))) for i, (p, t) in enumerate(image_prompts)]
    found: dict[str, Any] = {
        "info": sampler.info,
        "ends": student.ends,
        "tied": student.model.config.tie_word_embeddings,
    }

    found["read"] = sampler.prompt_ids(student, prompts)
    found["ours"] = [student.chat.batch([((p,), t)])["input_ids"][0].tolist() for p, t in image_prompts]

    endless = replace(student, ends=())
    rollouts = sampler(endless, prompts, Sampling(LENGTH))
    found["rollouts"] = plain(rollouts)
    found["again"] = plain(sampler(endless, prompts, Sampling(LENGTH)))
    found["alone"] = plain(sampler(endless, prompts[1:2], Sampling(LENGTH)))
    end = rollouts[0][0].ids[LENGTH // 2]
    found["end"] = end
    found["ended"] = plain(sampler(replace(student, ends=(end,)), prompts, Sampling(LENGTH)))
    found["without"] = plain(
        sampler(replace(endless, suppressed=(end, *student.suppressed)), prompts, Sampling(LENGTH))
    )

    many = [replace(prompts[0], keys=tuple(random_key("many", n) for n in range(MANY)))]
    (drawn,) = sampler(endless, many, Sampling(1))
    (likely,) = sampler(endless, many, Sampling(1, top_p=0.3))
    with torch.no_grad():
        inputs = process(student.chat, student.model, image_prompts[:1], 1, PLAIN)
        logits = hidden_states(student.model, inputs, [[[0]]], PLAIN)[0].float()
    logits[list(student.suppressed)] = -math.inf
    found["probabilities"] = logits.softmax(-1).tolist()
    found["drawn"], found["likely"] = [r.ids[0] for r in drawn], [r.ids[0] for r in likely]

    def gap(of: ModelRole) -> float:
        return forward_check.check_vllm(of, sampler, image_prompts, settings)

    forward_check.VLLM_TOLERANCE = {"float32": math.inf}
    gaps = {"start": gap(student)}
    teacher = Teacher(settings, student)
    move(student.model)
    gaps["moved"] = gap(student)
    with teacher.weights():
        gaps["teacher"] = gap(student)
    push, vllm_weights.push = vllm_weights.push, lambda *_: None
    gaps["not pushed"] = gap(student)  # the teacher's weights were the last ones that vLLM was given
    vllm_weights.push = push
    gaps["pushed"] = gap(student)
    adapted = role(model, recipe(lora=True, lora_rank=4))
    gaps["adapter"] = gap(adapted)
    move(adapted.model)
    gaps["adapter moved"] = gap(adapted)
    found["gaps"] = gaps

    refusals = {}
    forward_check.VLLM_TOLERANCE = {"float32": 1e-2}
    other = replace(adapted, model=student.model, wrapped=student.wrapped)
    vllm_weights.push = lambda *_: None
    for name, judged in (("another model", other), ("another prompt", replace(other, chat=_without_escaping(other)))):
        try:
            gap(judged)
        except ModelError as error:
            refusals[name] = str(error)
    vllm_weights.push = push
    try:  # last: a half-done update leaves vLLM unusable
        push(sampler.llm, [w for w in published_weights(student.model) if "layers.0.mlp.down_proj" not in w[0]])
    except ModelError as error:
        refusals["a weight is lacking"] = str(error)
    found["refusals"] = refusals
    sampler.close()
    Path(findings).write_text(json.dumps(found))


def _without_escaping(of: ModelRole) -> Any:
    """A chat that adds a word to every prompt, as a processor of another version might."""

    class Longer:
        def batch(self, prompts: Any) -> Any:
            return of.chat.batch([(images, f"{text} indeed") for images, text in prompts])

        def __getattr__(self, name: str) -> Any:
            return getattr(of.chat, name)

    return Longer()


if __name__ == "__main__":
    main()
