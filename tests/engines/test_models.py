"""A model that cannot be used is refused before its weights are read, with its fault and what can be done."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.loads import transformers
from gapbench.errors import ModelError
from gapbench.types import Request

Variant = Callable[..., Path]
END = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
MESSAGES = "{% for m in messages %}<|im_start|>{{ m.role }}\n{CONTENT}<|im_end|>\n{% endfor %}" + END
TEXT_ONLY = {
    "added to a string": ("{{ '' + m.content }}", r"content as text, not as a list of parts \(TypeError: can only"),
    "stripped": ("{{ m.content.strip() }}", r"content as text, not as a list of parts \(UndefinedError: 'list object'"),
    "printed": ("{{ m.content }}", r"content as text, and prints the list of parts"),
    "printed as JSON": ("{{ m.content | tojson }}", r"content as text, and prints the list of parts"),
    "its text parts": (
        "{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}", "it leaves the image out",
    ),
}  # fmt: skip
OWN = {"AutoConfig": "own.Configuration", "AutoModel": "own.Model", "AutoModelForCausalLM": "own.Model"}


@pytest.fixture
def variant(tiny: Callable[[str], Path], tmp_path: Path) -> Variant:
    """A copy of a tiny checkpoint with another chat template, or with other fields in its config.json."""

    def make(family: str = "qwen3_vl", template: str = "", **config: Any) -> Path:
        folder = Path(shutil.copytree(tiny(family), tmp_path / "model"))
        if template:
            (folder / "chat_template.jinja").write_text(template)
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return folder

    return make


def refusal(folder: Path, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        transformers.load(str(folder), max_new_tokens=2, **settings)
    return str(caught.value)


# --- chat templates that take content as text alone ---------------------------------------------------------------


@pytest.mark.parametrize("how", TEXT_ONLY)
def test_a_template_that_takes_text_alone_is_refused_with_what_can_be_done(how: str, variant: Variant) -> None:
    content, fault = TEXT_ONLY[how]
    said = refusal(variant(template=MESSAGES.replace("{CONTENT}", content)))
    assert re.search(rf"its chat template cannot write an image and a question: .*{fault}", said)
    assert "--engine vllm" in said
    assert said.endswith("pass it with --chat-template FILE.")
    assert "pixels" not in said, "no setting of pixels mends a template"


def test_a_template_that_leaves_the_image_to_the_processor_is_used(variant: Variant) -> None:
    from PIL import Image

    content = TEXT_ONLY["its text parts"][0]
    engine = transformers.load(str(variant("paligemma", MESSAGES.replace("{CONTENT}", content))), max_new_tokens=2)
    (_, answer), = engine.generate([Request(0, (Image.new("RGB", (64, 64)),), "What?")])  # fmt: skip
    assert answer.error == ""
    assert (answer.image_tokens or 0) > 0


# --- models that need their own code ------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [True, False])
def test_own_code_without_a_class_for_images_is_refused_before_it_runs(trust: bool, variant: Variant) -> None:
    said = refusal(variant(model_type="own_vl", auto_map=OWN), trust_remote_code=trust)
    assert "needs its own code (model type 'own_vl'), which cannot be used, with or without --trust-remote-code" in said
    assert "maps AutoModel, AutoModelForCausalLM to it; expected AutoModelForMultimodalLM or AutoModelForImage" in said
    assert "--engine vllm" in said
    assert "OWNER/NAME-hf" in said


def test_own_code_that_hides_what_transformers_has_is_left_out(variant: Variant) -> None:
    folder = variant(auto_map=OWN)
    assert refusal(folder, trust_remote_code=True).endswith("Leave out --trust-remote-code.")
    assert transformers.load(str(folder)).info["engine"] == "transformers"


def test_own_code_with_a_class_for_images_asks_for_trust(variant: Variant) -> None:
    own = {"AutoConfig": "own.Configuration", "AutoModelForImageTextToText": "own.Model"}
    said = refusal(variant(model_type="own_vl", auto_map=own))
    assert said.endswith("Read the code, then pass --trust-remote-code.")


def test_an_unknown_model_type_without_code_is_not_told_to_trust_any(variant: Variant) -> None:
    said = refusal(variant(model_type="own_vl"), trust_remote_code=True)
    assert "names no code of its own. Upgrade transformers" in said
    assert "trust" not in said


def test_a_text_model_is_told_that_it_reads_no_images(variant: Variant) -> None:
    assert refusal(variant(model_type="qwen3")).endswith("Name a multimodal model.")
