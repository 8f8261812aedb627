"""Whether a model thinks before it answers, and how its chat template is asked not to.

    thinking = read_thinking(template)
    thinking.switches, thinking.text            # {'enable_thinking': False}, 'off (enable_thinking=False)'

A switch is a variable that the template reads, whose name speaks of thinking, and of which two values give two
different prompts. A word in the template's text is no switch. The values to try are False and True, and those that the
template itself compares the variable with, such as "disabled".

Limits: a model may think without any sign of it in its template; the self-check and the records show that. Templates
are rendered here only to be read; what a model is sent is rendered by its processor or server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from gapbench.scoring.thoughts import Tags, demanded_in, opened_in

NAME = re.compile(r"think|thought|reason", re.I)
"""Names of variables that may switch thinking."""
NEGATED = re.compile(
    r"^(no|non|not|disable|skip|without|hide|suppress)(?=_|$|think|thought|reason)|_(off|disabled)$", re.I
)
"""Names of variables of which True switches it off."""
OFF = re.compile(r"off|none|no|false|disabled?|never|nothink(ing)?|(no|non)[_-]think(ing)?|chat|instant|direct|0", re.I)
LITTLE = re.compile(r"minimal|min|low(est)?|short", re.I)
"""Values that mean no thought (`OFF`) and a short one (`LITTLE`)."""
BLOCKS = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""Blocks that only transformers knows; they mark the assistant's turns and decide no prompt."""

NOTHING: Mapping[str, Any] = {}

Render = Callable[[Mapping[str, Any]], str | None]
"""The prompt with these variables of the template; None if the template refuses them."""


@dataclass(frozen=True)
class Thinking:
    """`switches` are the template's variables, with the values that ask for the least thought. `expected`: the model
    thinks all the same. `opened`: the prompt ends with the beginning of a thought. `text` is for the manifest."""

    switches: Mapping[str, Any]
    expected: bool
    text: str
    opened: bool = False


def read_thinking(template: str | None, chosen: Mapping[str, Any] = NOTHING, tags: Tags = ()) -> Thinking:
    """What a chat template says about thinking.

    `chosen` are variables that the user sets; if one is about thinking, no other switch is used. `tags` are marks of
    thoughts besides the known ones.
    """
    render = _renderer(template or "")
    switches: dict[str, Any] = dict(chosen)
    by_user = any(map(NAME.search, chosen))
    for name, values in () if by_user else _values(template or ""):
        value = _quietest(name, values, render)
        if value is not None and render({**switches, name: value}) is not None:
            switches[name] = value
    prompt = render(switches) or ""
    typed = ", ".join(f"{name}={value!r}" for name, value in switches.items() if NAME.search(name))
    if by_user:
        quiet = read_thinking(template, {k: v for k, v in chosen.items() if not NAME.search(k)}, tags)
        expected = quiet.expected or render(quiet.switches) != prompt
        return Thinking(switches, expected, f"as chosen ({typed})", bool(opened_in(prompt, tags)))
    if mark := opened_in(prompt, tags):
        even = f" even with {typed}" if typed else ""
        return Thinking(switches, True, f"cannot be switched off: the prompt ends with {mark}{even}", True)
    if any(LITTLE.fullmatch(str(value)) for value in switches.values()):
        return Thinking(switches, True, f"cannot be switched off; asked to be short ({typed})")
    if typed:
        return Thinking(switches, False, f"off ({typed})")
    if mark := demanded_in(prompt, tags):
        return Thinking(switches, True, f"cannot be switched off: the prompt speaks of {mark}")
    return Thinking(switches, False, "the template has no switch")


def stored_template(folder: Path) -> str | None:
    """The chat template in a model's folder, if it has one in a file that transformers reads."""
    plain = folder / "chat_template.jinja"
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("chat_template")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(found, str):
            return found
    return None


def _renderer(template: str) -> Render:
    """Renders a question about one image as transformers does (`render_jinja_template`)."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.now().strftime(form))
    compiled = cache(lambda: environment.from_string(BLOCKS.sub("", template)))
    given = {"add_generation_prompt": True, "tools": None, "documents": None, "bos_token": "", "eos_token": ""}

    def render(switches: Mapping[str, Any]) -> str | None:
        for question in ([{"type": "image"}, {"type": "text", "text": "?"}], "?"):  # some templates take text alone
            try:
                messages = [{"role": "user", "content": question}]
                return compiled().render(messages=messages, **given, **switches)
            except Exception:  # noqa: S112 - a template may raise anything at a value that it does not know
                continue
        return None

    return render


def _quietest(name: str, values: list[Any], render: Render) -> Any:
    """The value that asks for the least thought, if it changes the prompt; else None."""
    prompts = [(value, render({name: value})) for value in values]
    words = [(value, prompt) for value, prompt in prompts if not isinstance(value, bool)] + [(None, render({}))]
    switch = [(value, prompt) for value, prompt in prompts if isinstance(value, bool)]
    if any(str(value) in (prompt or "") for value, prompt in switch):  # it is printed, not tested
        switch = []
    wanted = [
        *((words, value, prompt) for value, prompt in words if OFF.fullmatch(str(value)) and value is not None),
        *((switch, value, prompt) for value, prompt in switch if value is bool(NEGATED.search(name))),
        *((words, value, prompt) for value, prompt in words if LITTLE.fullmatch(str(value))),
    ]
    for alternatives, value, prompt in wanted:
        if prompt is not None and any(other not in (prompt, None) for _, other in alternatives):
            return value
    return None


def variables_of(template: str) -> dict[str, list[str | int]]:
    """The variables that a template reads, each with the words and numbers that it is compared with."""
    from jinja2 import TemplateSyntaxError, meta, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        tree = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(BLOCKS.sub("", template))
    except TemplateSyntaxError:
        return {}
    compared = [  # read first, because the search for variables changes the tree
        (read.name, constant.value)
        for comparison in tree.find_all(nodes.Compare)
        for read in comparison.find_all(nodes.Name)
        for constant in comparison.find_all(nodes.Const)
        if isinstance(constant.value, str | int) and not isinstance(constant.value, bool)
    ]
    names = sorted(meta.find_undeclared_variables(tree))
    return {name: [*dict.fromkeys(value for of, value in compared if of == name)] for name in names}


def _values(template: str) -> Iterator[tuple[str, list[Any]]]:
    """The variables that may switch thinking, by name, with the values to try."""
    for name, compared in variables_of(template).items():
        if NAME.search(name):
            graded = re.search("effort|level|mode|budget", name)
            scale = ["low"] if re.search("effort|level", name) else []  # that of gpt-oss's template, which prints it
            yield name, [*(() if graded else (False, True)), *dict.fromkeys([*compared, *scale])]
