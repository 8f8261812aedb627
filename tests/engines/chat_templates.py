"""Chat templates of our own, one for each way in which public ones switch, open or demand thoughts.

    for name, case in CASES.items():
        template = case.template(base)       # `base` is a plain template that ends with the assistant's turn

The ways were seen in public repositories in November 2026; the texts are ours. `says` is what a model of that kind
writes, with `{}` for its thought; special tokens among its marks are in `SPECIAL`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ASSISTANT = "<|im_start|>assistant\n{% endif %}"
SPECIAL = ("[THINK]", "[/THINK]", "<|channel>", "<channel|>", "<|channel|>", "<|message|>", "<|start|>", "<|end|>",
           "<|return|>", "<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>",
           "<|END_RESPONSE|>")  # fmt: skip
"""Marks that are special tokens, so that a decoder that skips those leaves the thought in the answer."""
THOUGHT = "Option B is blue. The answer is B? No, the sign is red."
HARMONY = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>A<|return|>"
NO_SWITCH = "the template has no switch"


@dataclass(frozen=True)
class Case:
    """`head` stands before the conversation and `tail` after the assistant's mark. `thinking` is what the manifest
    says, `prompt_end` how the prompt ends."""

    thinking: str
    head: str = ""
    tail: str = ""
    switches: Mapping[str, Any] = field(default_factory=dict)
    says: str = "A"
    prompt_end: str = "assistant\n"

    def template(self, base: str) -> str:
        return self.head + base.replace(ASSISTANT, ASSISTANT.replace("{% endif %}", self.tail + "{% endif %}"))

    def cut_off(self) -> str:
        """What the model has written when it is cut off within its thought."""
        return self.says.partition("{}")[0] + THOUGHT


def off(name: str, value: Any) -> dict[str, Any]:
    return {"switches": {name: value}, "thinking": f"off ({name}={value!r})"}


OPENED = "cannot be switched off: the prompt ends with "
DEMANDED = "cannot be switched off: the prompt speaks of "
CASES = {
    "no thoughts at all": Case(NO_SWITCH),
    "a blank thought if false": Case(
        tail="{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}",
        **off("enable_thinking", False), says="<think>{}</think>\n\nA", prompt_end="<think>\n\n</think>\n\n",
    ),
    "an opened thought unless false": Case(
        tail="{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
        "{% else %}<think>\n{% endif %}",
        **off("enable_thinking", False), says="<think>{}</think>\n\nA", prompt_end="<think>\n\n</think>\n\n",
    ),
    "off by default": Case(
        tail="{% if enable_thinking is defined and enable_thinking %}<think>\n{% endif %}",
        **off("enable_thinking", False), says="<think>{}</think>A",
    ),
    "another name": Case(
        tail="{% if thinking is defined and thinking is false %}<think></think>{% else %}<think>{% endif %}",
        **off("thinking", False), says="<think>{}</think>A", prompt_end="<think></think>",
    ),
    "set at the top": Case(
        head="{% set thinking = thinking if thinking is defined else true %}",
        tail="{% if not thinking %}◁think▷◁/think▷{% endif %}",
        **off("thinking", False), says="◁think▷{}◁/think▷A", prompt_end="◁think▷◁/think▷",
    ),
    "in a namespace": Case(
        head="{% set ns = namespace(on=enable_thinking|default(true)) %}",
        tail="{% if ns.on %}<think>{% else %}<think></think>{% endif %}",
        **off("enable_thinking", False), says="<think>{}</think>A", prompt_end="<think></think>",
    ),
    "a word for the user": Case(
        tail="{{ '/nothink\n<think></think>' if (enable_thinking is defined and not enable_thinking) else '' }}",
        **off("enable_thinking", False), says="<think>{}</think>A", prompt_end="/nothink\n<think></think>",
    ),
    "a special token in the system's turn": Case(
        head="{% if enable_thinking %}<|think|>{% endif %}",
        tail="{% if not enable_thinking %}<|channel>thought\n<channel|>{% endif %}",
        **off("enable_thinking", False), says="<|channel>thought\n{}<channel|>A", prompt_end="thought\n<channel|>",
    ),
    "a negative name": Case(
        tail="{% if not disable_thinking %}<think>{% endif %}",
        **off("disable_thinking", True), says="<think>{}</think>A",
    ),
    "a negative name in one word": Case(
        tail="{% if noThinking %}<think></think>{% endif %}",
        **off("noThinking", True), says="<think>{}</think>A", prompt_end="<think></think>",
    ),
    "a mode": Case(
        head="{% if thinking_mode is not defined %}{% set thinking_mode = 'adaptive' %}{% endif %}",
        tail="{% if thinking_mode == 'disabled' %}<mm:think></mm:think>{% elif thinking_mode == 'enabled' %}"
        "<mm:think>{% endif %}",
        **off("thinking_mode", "disabled"), says="<mm:think>{}</mm:think>A", prompt_end="<mm:think></mm:think>",
    ),
    "a budget": Case(
        tail="{% if thinking_budget is defined and thinking_budget == 0 %}<seed:think></seed:think>{% endif %}",
        **off("thinking_budget", 0), says="<seed:think>{}</seed:think>A", prompt_end="<seed:think></seed:think>",
    ),
    "an effort that may be none": Case(
        head="{% set reasoning_effort = reasoning_effort|default('high') %}{% if reasoning_effort not in "
        "['none', 'high'] %}{{ raise_exception('none or high') }}{% endif %}effort: {{ reasoning_effort }}\n",
        **off("reasoning_effort", "none"), says="[THINK]{}[/THINK]A",
    ),
    "an effort that is never none": Case(
        "cannot be switched off; asked to be short (reasoning_effort='low')",
        head="{% if reasoning_effort is not defined %}{% set reasoning_effort = 'medium' %}{% endif %}"
        "{{ 'Reasoning: ' + reasoning_effort + '\n' }}",
        switches={"reasoning_effort": "low"}, says=HARMONY,
    ),
    "an opened thought, always": Case(
        f"{OPENED}<think>", tail="<think>\n", says="{}\n</think>\n\nA", prompt_end="<think>\n"
    ),
    "an opened thought despite a switch": Case(
        f"{OPENED}<think> even with enable_thinking=False",
        tail="{% if enable_thinking %}at length{% endif %}<think>\n",
        switches={"enable_thinking": False}, says="{}\n</think>\n\nA", prompt_end="<think>\n",
    ),
    "demanded by the system's turn": Case(
        f"{DEMANDED}[THINK]",
        head="First draft your thoughts. [THINK]Your thoughts[/THINK]Then answer.\n",
        says="[THINK]{}[/THINK]A",
    ),
    "demanded between marks": Case(
        f"{DEMANDED}<think>", head="Think between <think> and </think>.\n", says="<think>{}</think>The answer is A."
    ),
    "steps": Case(
        f"{OPENED}Here are my reasoning steps:", head="Say your steps, then [BEGIN FINAL RESPONSE].\n",
        tail="Here are my reasoning steps:\n", says="{}\n[BEGIN FINAL RESPONSE] A [END FINAL RESPONSE]",
        prompt_end="Here are my reasoning steps:\n",
    ),
    "a word that is no switch": Case(
        NO_SWITCH, head="{% for m in messages %}{% if m.type == 'thinking' %}{{ m.thinking }}{% endif %}{% endfor %}"
    ),
    "no sign, and yet it thinks": Case(NO_SWITCH, says="<think>{}</think><answer>A</answer>"),
    "no sign, in stages": Case(
        NO_SWITCH, says="<SUMMARY>B</SUMMARY><REASONING>{}</REASONING><CONCLUSION>A</CONCLUSION>"
    ),
    "no sign, special tokens": Case(
        NO_SWITCH, says="<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>A<|END_RESPONSE|>"
    ),
}  # fmt: skip
