"""Every tiny checkpoint behaves like a real one: it loads generically, sees its image and batches cleanly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from tiny_models import FAMILIES, build, image_token_id
from transformers import AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoProcessor

IMAGE_TOKENS_OF_100_BY_60 = {
    "qwen2_vl": 8,
    "qwen2_5_vl": 8,
    "qwen3_vl": 6,
    "qwen3_5": 6,
    "llava": 16,
    "llava_next": 52,
    "llava_onevision": 52,
    "internvl": 12,
    "gemma3": 4,
    "gemma4": 60,
    "idefics3": 20,
    "smolvlm": 20,
    "paligemma": 16,
    "mistral3": 12,
    "pixtral": 40,
    "glm4v": 8,
    "glm4v_moe": 8,
    "glm46v": 8,
    "lfm2_vl": 6,
    "phi4_multimodal": 443,
    "ovis2": 4,
    "kimi_k25": 12,
}


@dataclass(frozen=True)
class Loaded:
    family: str
    folder: Path
    processor: Any
    model: Any
    report: dict[str, Any]

    def inputs(self, *prompts: tuple[str, Image.Image]) -> Any:
        """A left-padded batch of (question, image), as every engine makes it."""
        messages = [
            [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": question}]}]
            for question, image in prompts
        ]
        return self.processor.apply_chat_template(
            messages,
            # Phi-4's processor loses its own copy when it is loaded
            chat_template=self.processor.chat_template or self.processor.tokenizer.chat_template,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )

    @torch.no_grad()
    def logits(self, question: str, image: Image.Image) -> torch.Tensor:
        """Logits of the first answer token, shape (vocabulary,)."""
        logits: torch.Tensor = self.model(**self.inputs((question, image))).logits
        return logits[0, -1]

    @torch.no_grad()
    def answers(self, *prompts: tuple[str, Image.Image]) -> list[list[int]]:
        """Eight greedy tokens for each prompt, cut after the end token."""
        inputs = self.inputs(*prompts)
        output = self.model.generate(**inputs, max_new_tokens=8)[:, inputs["input_ids"].shape[1] :].tolist()
        end = self.processor.tokenizer.eos_token_id
        return [tokens[: tokens.index(end) + 1] if end in tokens else tokens for tokens in output]


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = build(request.param, tmp_path_factory.mktemp("tiny") / request.param)
    processor = AutoProcessor.from_pretrained(folder)
    model, report = AutoModelForMultimodalLM.from_pretrained(folder, output_loading_info=True)
    yield Loaded(request.param, folder, processor, model.eval(), report)
    torch.set_num_threads(threads)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
    return Image.fromarray(pixels.numpy())


def drawn(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).ellipse((5, 5, width // 2, height // 2), fill="red")
    return image


PROMPTS = (
    ("What colour?", noise(100, 60)),
    ("How many people are there in it? Answer with one number.", drawn(64, 150)),
    ("Open?", noise(200, 180)),
)


def test_every_weight_is_found_and_none_is_left_over(loaded: Loaded) -> None:
    assert {kind: list(names) for kind, names in loaded.report.items() if names} == {}


def test_the_checkpoint_is_complete_and_small(loaded: Loaded) -> None:
    names = {path.name for path in loaded.folder.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "processor_config.json"} <= names
    assert {"tokenizer.json", "chat_template.jinja"} <= names
    assert "auto_map" not in json.loads((loaded.folder / "config.json").read_text())
    assert sum(path.stat().st_size for path in loaded.folder.iterdir()) < 2_000_000


def test_the_older_auto_class_loads_all_but_phi4(loaded: Loaded) -> None:
    if loaded.family == "phi4_multimodal":
        with pytest.raises(ValueError, match="Unrecognized configuration class"):
            AutoModelForImageTextToText.from_pretrained(loaded.folder)
    else:
        model = AutoModelForImageTextToText.from_pretrained(loaded.folder)
        assert type(model) is type(loaded.model)


def test_another_image_gives_other_logits(loaded: Loaded) -> None:
    first, second = (loaded.logits("What colour?", image) for image in (drawn(100, 60), noise(64, 150)))
    assert (first - second).abs().max() > 0.5 * first.std()


def test_greedy_answers_are_not_one_token_repeated(loaded: Loaded) -> None:
    answers = [loaded.answers(prompt)[0] for prompt in PROMPTS]
    assert len({token for answer in answers for token in answer}) >= 4
    assert len({tuple(answer) for answer in answers}) >= 2


def test_a_left_padded_batch_answers_as_one_by_one(loaded: Loaded) -> None:
    assert loaded.answers(*PROMPTS) == [loaded.answers(prompt)[0] for prompt in PROMPTS]


def test_answers_never_contain_a_placeholder(loaded: Loaded) -> None:
    special = image_token_id(loaded.model.config)
    assert all(special not in answer for answer in loaded.answers(*PROMPTS))


@torch.no_grad()
def test_image_tokens_are_where_the_image_enters(loaded: Loaded) -> None:
    """Positions that depend on the image are image tokens, and every image token is overwritten."""
    entering: list[torch.Tensor] = []
    decoder = loaded.model.get_decoder()
    hook = decoder.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: entering.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    inputs, others = (loaded.inputs(("What colour?", image)) for image in (noise(100, 60), noise(100, 60, seed=1)))
    loaded.model(**inputs)
    loaded.model(**others)
    hook.remove()
    embedded = loaded.model.get_input_embeddings()(inputs["input_ids"])
    image_token = inputs["input_ids"] == image_token_id(loaded.model.config)
    depends = (entering[0] != entering[1]).any(-1)
    overwritten = (entering[0] != embedded).any(-1)
    assert int(image_token.sum()) == IMAGE_TOKENS_OF_100_BY_60[loaded.family]
    assert depends.any()
    assert not (depends & ~image_token).any()
    assert not (image_token & ~overwritten).any()


@torch.no_grad()
def test_phi4_sees_a_square_image_alike_alone_and_in_a_batch_under_eager_attention(tmp_path: Path) -> None:
    """Its vision tower claims to be causal, which SDPA believes whenever no image of the batch has padding."""
    folder = build("phi4_multimodal", tmp_path)
    model = AutoModelForMultimodalLM.from_pretrained(folder, attn_implementation="eager").eval()
    phi4 = Loaded("phi4_multimodal", folder, AutoProcessor.from_pretrained(folder), model, {})
    square = ("Open?", noise(112, 112))
    batch = model(**phi4.inputs(PROMPTS[0], square)).logits[1, -1]
    torch.testing.assert_close(batch, phi4.logits(*square), atol=1e-4, rtol=0)


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    first, again, other = (
        (build("qwen2_vl", tmp_path / name, seed) / "model.safetensors").read_bytes()
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first != other


def test_building_leaves_the_random_state_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    build("qwen2_vl", tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())
