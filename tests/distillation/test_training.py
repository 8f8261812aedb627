"""What a training leaves in `model/` is the source's folder with other weights, and every tool takes it as such."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import write_benchmark
from PIL import Image
from tiny_models import tf

import gapbench
from distillation.trainings import apart, steps, train, weights
from gapbench.distillation.recipe import make
from gapbench.distillation.training import make_accelerator
from gapbench.errors import SettingError

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"), questions=12)


@pytest.fixture(scope="module")
def published(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as models are published: bfloat16, tied embeddings, settings of its own for generation, and some
    that contradict each other."""
    folder = tmp_path_factory.mktemp("published")
    source = tiny("gemma3")
    tf.AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16).save_pretrained(folder)
    tf.AutoProcessor.from_pretrained(source).save_pretrained(folder)
    generation = {"eos_token_id": 2, "pad_token_id": 0, "do_sample": False, "temperature": 0.2, "top_p": 0.8}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "gapbench.json").write_text('{"benchmarks": {"signs": {"canvas": 96}}}')
    return folder


@pytest.fixture(scope="module")
def trained(published: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(published, data, tmp_path_factory.mktemp("trained") / "out", "steps=2").model_path


def read(path: Path) -> dict[str, Any]:
    """A JSON file without the version of transformers that wrote it."""
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "transformers_version"}


def test_the_auto_classes_load_it_and_no_weight_is_missing(trained: Path) -> None:
    model, found = tf.AutoModelForImageTextToText.from_pretrained(trained, dtype="auto", output_loading_info=True)
    assert {k: list(v) for k, v in found.items() if v} == {}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    processor = tf.AutoProcessor.from_pretrained(trained)
    talk = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (60, 60))},
                                         {"type": "text", "text": "Which colour?"}]}]  # fmt: skip
    inputs = processor.apply_chat_template(
        [talk], tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    assert torch.isfinite(model(**inputs.to(torch.bfloat16)).logits).all()


def test_everything_but_the_weights_is_the_sources(published: Path, trained: Path) -> None:
    assert {p.name for p in trained.iterdir()} == {p.name for p in published.iterdir()} | {"README.md"}
    for name in ("config.json", "processor_config.json"):
        assert read(trained / name) == read(published / name)
    kept = read(trained / "generation_config.json")
    assert {k: kept[k] for k in ("eos_token_id", "pad_token_id", "temperature", "top_p")} == {
        "eos_token_id": 2, "pad_token_id": 0, "temperature": 0.2, "top_p": 0.8,
    }  # fmt: skip
    for name in ("chat_template.jinja", "gapbench.json"):
        assert (trained / name).read_bytes() == (published / name).read_bytes()
    before, after = weights(published), weights(trained)
    assert before.keys() == after.keys()  # tied weights once, not twice
    for name in before:
        assert before[name].dtype == after[name].dtype == torch.bfloat16
        assert before[name].shape == after[name].shape
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_gapbench_measures_it(trained: Path, data: Path, tmp_path: Path) -> None:
    run = gapbench.measure(str(trained), str(data), out=tmp_path, limit=2, max_new_tokens=2)
    assert run.summary["benchmarks"]["mine"]["views"]["full"]["n"] == 2


def test_merged_adapters_answer_as_adapters_on_the_base_do(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    base = tiny("qwen3_vl")
    merged = train(base, data, tmp_path, "lora=true", "lora_rank=4", "learning_rate=1e-2").model_path
    ids = torch.arange(10, 60)[None]
    with torch.no_grad():
        plain = tf.AutoModelForImageTextToText.from_pretrained(base)(input_ids=ids).logits
        whole = tf.AutoModelForImageTextToText.from_pretrained(merged)(input_ids=ids).logits
        source = tf.AutoModelForImageTextToText.from_pretrained(base)
        apart_ = PeftModel.from_pretrained(source, tmp_path / "adapter")(input_ids=ids).logits
    assert (whole - apart_).abs().max() < 1e-4
    assert (whole - plain).abs().max() > 1e-2
    assert weights(merged).keys() == weights(base).keys()
    assert steps(tmp_path)[-1]["ema_distance"] > 0


def test_a_frozen_vision_tower_keeps_its_weights(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    train(tiny("qwen3_vl"), data, tmp_path, "freeze_vision=true", "steps=1")
    before, after = weights(tiny("qwen3_vl")), weights(tmp_path / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in before if ".visual." in name}.isdisjoint(changed)
    assert any("language_model" in name for name in changed)


def test_one_python_may_train_in_one_precision_after_the_other(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    for name, precision in (("a", "bf16"), ("b", "no"), ("c", "bf16")):
        train(tiny("qwen3_vl"), data, tmp_path / name, f"precision={precision}", "steps=2")
        assert json.loads((tmp_path / name / "distill.json").read_text())["training"]["precision"] == (
            "float32" if precision == "no" else "bfloat16"
        )
    assert apart(tmp_path / "a" / "model", tmp_path / "c" / "model") == 0
    assert apart(tmp_path / "a" / "model", tmp_path / "b" / "model") > 0


def test_a_disturbed_model_is_refused_before_it_is_trained(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    """A weight that is no number must not be taken for agreement."""
    from safetensors.torch import save_file

    from gapbench.errors import ModelError

    shutil.copytree(tiny("qwen3_vl"), tmp_path / "poisoned")
    poisoned = weights(tmp_path / "poisoned")
    next(iter(poisoned.values())).flatten()[0] = torch.nan
    save_file(poisoned, tmp_path / "poisoned" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="nan"):
        train(tmp_path / "poisoned", data, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path) -> None:
    missing = [name for name in ("tensorboard", "wandb", "trackio") if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("all trackers are installed")
    with pytest.raises(SettingError, match=f"trackers: .*{missing[0]} is not installed.*pip install {missing[0]}"):
        make_accelerator(make({"trackers": [missing[0]]}), tmp_path)


def test_tensorboard_gets_every_step(tiny: Tiny, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny("qwen3_vl"), data, tmp_path, "trackers=[tensorboard]")
    events = EventAccumulator(str(tmp_path / "gapbench-distill")).Reload()
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([line["loss"] for line in steps(tmp_path)])
