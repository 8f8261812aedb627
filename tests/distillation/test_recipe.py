"""A recipe says what will be done: every key known, every value in range, written out in full and read back alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gapbench.distillation.divergence import Divergence
from gapbench.distillation.recipe import FOLDER, WITHOUT_EFFECT, Recipe, dump, load, make, names, remarks
from gapbench.errors import GapbenchError, SettingError

# --- the recipes that come with gapbench ---------------------------------------------------------------------------


def test_the_recipes_are_there() -> None:
    assert {"demo", "hard", "lora-1gpu", "opd-aha", "s2vopd", "v-zero", "vision-opd"} <= set(names())
    assert names() == sorted(p.stem for p in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", names())
def test_every_recipe_loads_and_survives_being_written_out(name: str, tmp_path: Path) -> None:
    recipe = load(name)
    written = tmp_path / "recipe.yaml"
    written.write_text(dump(recipe), encoding="utf-8")
    assert load(written) == recipe
    assert set(yaml.safe_load(dump(recipe))) == set(Recipe.model_fields), "fully resolved"


def test_vision_opd_is_the_papers() -> None:
    recipe = load("vision-opd")
    said = {
        "student_view": "full", "teacher_view": "crop", "teacher_enlarge": 2.0, "anchor_share": 0.0, "hint": "",
        "protocol": "",
        "prompts_per_step": 96, "rollouts_per_prompt": 8, "rollouts_from": "student", "max_new_tokens": 1024,
        "temperature": 1.0, "top_p": 1.0,
        "divergence": "jsd", "mixture": 0.5, "support": "student", "top_k": 100, "tail": True,
        "aggregation": "sequence",
        "teacher": "ema", "ema_rate": 0.05,
        "learning_rate": 2e-6, "warmup_steps": 10, "steps": 65, "schedule": "constant",
        "lora": False, "freeze_vision": False,
    }  # fmt: skip
    assert {key: getattr(recipe, key) for key in said} == said
    assert {key: getattr(Recipe(), key) for key in said} == said, "the defaults are the paper's, too"
    assert recipe.region.startswith("padded")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("opd-aha", {
            "target": "tilt", "tilt": 4.0, "null_view": "blank", "teacher": "frozen", "weights": "none",
            "divergence": "jsd", "mixture": 0.5, "support": "student", "top_k": 100, "tail": True,
            "prompts_per_step": 96, "rollouts_per_prompt": 8, "max_new_tokens": 1024,
            "steps": 70, "learning_rate": 2e-6, "warmup_steps": 10,
        }),
        ("s2vopd", {
            "student_view": "degraded:scale=0.3-0.6", "teacher_view": "full", "teacher": "ema", "ema_rate": 0.05,
            "divergence": "jsd", "support": "teacher", "target": "teacher", "steps": 65, "prompts_per_step": 96,
            "rollouts_per_prompt": 8,
        }),
        ("v-zero", {
            "weights": "evidence", "weight_alpha": 0.5, "weight_gamma": 1.0, "weight_min": 0.0, "weight_max": 2.0,
            "null_view": "random_crop", "rollouts_per_prompt": 8, "learning_rate": 1e-6, "ema_rate": 0.02,
            "divergence": "sampled_token", "max_new_tokens": 2048,
        }),
        ("hard", {
            "target": "hard", "tilt": 4.0, "divergence": "forward_kl", "teacher": "frozen", "prompts_per_step": 48,
            "rollouts_per_prompt": 2, "steps": 51, "learning_rate": 2e-6,
        }),
    ],
)  # fmt: skip
def test_a_published_method_has_the_values_that_its_source_gives(name: str, said: dict[str, Any]) -> None:
    recipe = load(name)
    assert {key: getattr(recipe, key) for key in said} == said


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, ["full", "crop"]),
        ({"target": "tilt"}, ["full", "crop", "blank"]),
        ({"target": "hard", "null_view": "hide"}, ["full", "crop", "hide"]),
        ({"target": "hard", "tilt": 0}, ["full", "crop"]),
        ({"weights": "evidence", "null_view": "random_crop"}, ["full", "crop", "random_crop"]),
        ({"student_view": "degraded", "teacher_view": "full"}, ["degraded", "full"]),
    ],
)
def test_the_null_view_is_shown_where_target_or_weights_use_it(values: dict[str, Any], names: list[str]) -> None:
    assert [view.name for view in make(values).views] == names


def test_the_divergence_is_that_of_the_settings() -> None:
    changed = load("vision-opd", ["divergence=forward_kl", "support=union", "top_k=7", "tail=false", "mixture=0.25",
                                  "loss_temperature=2", "importance_cap=3", "target=hard", "tilt=2"])  # fmt: skip
    assert changed.loss == Divergence("forward_kl", 0.25, "union", 7, False, 2.0, 3.0, "hard", 2.0)


def test_one_gpu_scales_what_is_counted_in_steps_with_the_batch() -> None:
    paper, small = load("vision-opd"), load("lora-1gpu")
    times = paper.prompts_per_step * paper.rollouts_per_prompt / (small.prompts_per_step * small.rollouts_per_prompt)
    assert small.lora
    assert small.steps == paper.steps * times
    assert small.warmup_steps == paper.warmup_steps * times
    assert (1 - small.ema_rate) ** times == pytest.approx(1 - paper.ema_rate, abs=1e-3)


# --- values as people write them -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("learning_rate=2e-6", "learning_rate", 2e-6),  # text to YAML 1.1
        ("steps=3e1", "steps", 30),
        ("max_pixels=1e6", "max_pixels", 1_000_000),
        ("max_pixels=null", "max_pixels", None),
        ("precision=no", "precision", "no"),  # false to YAML 1.1
        ("lora=true", "lora", True),
        ("hint=Only consider: the red box, no more.", "hint", "Only consider: the red box, no more."),
        ("hint=", "hint", ""),
        ("hint=no", "hint", "no"),
        ("hint=a: b: c", "hint", "a: b: c"),
        ("hint='quoted'", "hint", "quoted"),
        ("trackers=wandb", "trackers", ("wandb",)),
        ("trackers=[tensorboard, trackio]", "trackers", ("tensorboard", "trackio")),
        ("lora_targets=[q_proj, v_proj]", "lora_targets", ("q_proj", "v_proj")),
        ("processor={do_resize: false}", "processor", {"do_resize": False}),
        ("use_vllm=true", "use_vllm", True),
        ("vllm_engine_args={max_model_len: 4096}", "vllm_engine_args", {"max_model_len": 4096}),
        ("importance_cap=2", "importance_cap", 2.0),
        ("importance_cap=null", "importance_cap", None),
        (" steps = 7", "steps", 7),
    ],
)
def test_an_override_means_what_it_says(override: str, key: str, value: Any) -> None:
    assert getattr(load("vision-opd", [override]), key) == value


def test_a_file_is_read_as_overrides_are(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("learning_rate: 2e-6\nprecision: no\ntrackers: wandb\n", encoding="utf-8")
    recipe = load(path, ["steps=3"])
    assert (recipe.learning_rate, recipe.precision, recipe.trackers, recipe.steps) == (2e-6, "no", ("wandb",), 3)
    path.write_text("", encoding="utf-8")
    assert load(path) == Recipe()


def test_the_last_override_wins() -> None:
    assert load("demo", ["steps=3", "steps=4"]).steps == 4


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "near"),
    [("stepz", "steps"), ("learning_rat", "learning_rate"), ("ema", "ema_rate"), ("rollout_token", "rollout_tokens")],
)
def test_an_unknown_key_is_named_with_the_nearest(key: str, near: str) -> None:
    with pytest.raises(SettingError, match=rf"demo.yaml: unknown key '{key}'. Did you mean '{near}'"):
        load("demo", [f"{key}=1"])


def test_keys_that_are_not_text_are_unknown() -> None:
    with pytest.raises(SettingError, match="unknown key 7"):
        make({7: 1})  # type: ignore[dict-item]


OUT_OF_RANGE = {
    "anchor_share": (-0.1, 1.1), "teacher_enlarge": (0.5, 17), "min_pixels": (0,), "max_pixels": (0,),
    "prompts_per_step": (0,), "rollouts_per_prompt": (0,), "rollouts_from": ("judge",), "max_new_tokens": (0,),
    "temperature": (0, -1, float("inf"), float("nan")), "top_p": (0, 1.1),
    "use_vllm": ("often",), "vllm_gpu_memory_utilization": (0, 1.1), "vllm_engine_args": ("fast",),
    "importance_cap": (0, -1),
    "divergence": ("kl",), "mixture": (0, 1), "support": ("top",), "top_k": (0,), "loss_temperature": (0,),
    "aggregation": ("mean",),
    "target": ("label",), "tilt": (-1,), "weights": ("all",), "weight_alpha": (-1,), "weight_gamma": (-0.5,),
    "weight_min": (-1,), "weight_max": (0,),
    "teacher": ("emma",), "ema_rate": (0, 1.5), "trust_region": (-1, 2), "copy_every": (0,),
    "steps": (0, 2.5, "many"), "learning_rate": (0, -1e-6, "fast"), "warmup_steps": (-1,), "schedule": ("step",),
    "weight_decay": (-1,), "beta1": (1,), "beta2": (1,), "max_grad_norm": (0,),
    "lora": ("maybe",), "lora_rank": (0,), "lora_alpha": (0,),
    "precision": ("fp8",), "micro_batch_tokens": (0,), "rollout_tokens": (0,), "chunk_tokens": (0,),
    "save_every": (0,), "keep_checkpoints": (0,), "probe_every": (-1,), "contamination": ("ignore",),
    "trackers": ("mlflow", ["mlflow"]), "processor": ("fast",),
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in OUT_OF_RANGE.items() for v in values])
def test_a_value_out_of_range_is_named_with_what_was_expected(key: str, value: Any) -> None:
    with pytest.raises(SettingError, match=rf"^Mine: {key}=.* is out of range\. Input should be"):
        make({key: value}, "Mine")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"student_view": "ful"}, "student_view='ful' is unknown. Expected one of full, crop, boxed"),
        ({"teacher_view": "zoom"}, "teacher_view='zoom' is unknown"),
        ({"null_view": "none"}, "null_view='none' is unknown. Expected one of full, crop, boxed, mask, hide"),
        ({"teacher_view": "hint"}, "teacher_view='hint' shows no image, several, or another prompt"),
        ({"null_view": "blind"}, "null_view='blind' shows no image, several, or another prompt"),
        ({"student_view": "degraded:scale=2"}, "student_view degraded:scale=2: scale=2 is out of range"),
        ({"student_view": "crop:factor=2"}, "student_view='crop:factor=2' has a region of its own, and a training has"),
        ({"target": "tilt", "tilt": 0}, "tilt=0 with target=tilt is the teacher itself. Set target=teacher"),
        ({"target": "tilt", "null_view": "crop"}, "null_view and teacher_view are both crop, so the tilt adds nothing"),
        ({"weights": "evidence", "null_view": "crop"}, "both crop, so every answer has the same evidence"),
        ({"target": "tilt", "divergence": "sampled_token"}, "sampled token alone, and target=tilt is made of several"),
        ({"target": "hard", "divergence": "reverse_kl"}, "divergence=reverse_kl to target=hard is infinite"),
        ({"target": "hard", "top_k": 1}, "the label is always the student's own likeliest token"),
        ({"target": "hard", "tilt": 0, "teacher_view": "full"}, "the labels are the student's own at the start"),
        ({"weights": "evidence", "rollouts_per_prompt": 1}, "compares the rollouts of a prompt, and there is one"),
        ({"weights": "evidence", "weight_min": 3}, "weight_min=3 is more than weight_max=2"),
        ({"region": "padde"}, "Region policy 'padde' is unknown"),
        ({"region": "padded:factor=0.5"}, "factor must be at least 1"),
        ({"teacher": "model"}, "teacher='model' with teacher_model=''"),
        ({"teacher_model": "some/model"}, "teacher='ema' with teacher_model='some/model'"),
        ({"min_pixels": 100, "max_pixels": 99}, "min_pixels=100 is more than max_pixels=99"),
        ({"micro_batch_tokens": 64, "max_new_tokens": 64}, "holds not even one answer of max_new_tokens=64"),
        ({"importance_cap": 2, "temperature": 0.7}, "importance_cap=2 with temperature=0.7 and top_p=1. The sampler's"),
        ({"importance_cap": 2, "top_p": 0.9}, "importance_cap=2 with temperature=1 and top_p=0.9. The sampler's"),
    ],
)
def test_settings_that_cannot_go_together_are_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=re.escape(says)):
        make(values)


# --- nothing silent ------------------------------------------------------------------------------------------------

SAME = {"teacher_view": "full"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({**SAME, "teacher": "live"}, "both full, and teacher=live has the student's weights. The loss is always 0"),
        ({**SAME, "teacher": "ema", "ema_rate": 1}, "teacher=ema has the student's weights"),
        ({**SAME, "teacher": "copy", "copy_every": 1}, "teacher=copy has the student's weights"),
        ({**SAME, "teacher": "trust_region", "trust_region": 1}, "teacher=trust_region has the student's weights"),
        ({"student_view": "crop", "teacher_enlarge": 1, "teacher": "live"}, "are both crop, and teacher=live has"),
        ({"anchor_share": 1, "teacher": "live"}, "anchor_share=1 shows the student the teacher's image of every"),
        ({"anchor_share": 0.9, "prompts_per_step": 4, "teacher": "live"}, "anchor_share=0.9 shows the student"),
        ({"top_k": 1, "tail": False}, "top_k=1 with tail=false compares a single token"),
        ({"top_k": 1, "tail": False, "support": "teacher"}, "Set tail=true, or top_k to 2 or more"),
    ],
)
def test_a_loss_that_is_0_at_every_step_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=re.escape(says)):
        make(values)


@pytest.mark.parametrize(
    "values",
    [
        {**SAME, "teacher": "model", "teacher_model": "another"},
        {"student_view": "crop", "teacher": "live"},  # the teacher's is enlarged
        {"anchor_share": 0.9, "teacher": "live"},
        {"teacher": "live"},
        {"top_k": 1},
        {"top_k": 1, "tail": False, "support": "union"},  # two tokens, unless both like the same best
        {"top_k": 1, "tail": False, "support": "full"},
        {"top_k": 1, "tail": False, "divergence": "sampled_token"},
        {**SAME, "teacher": "live", "target": "tilt"},  # the target is another one than the student's own
        {**SAME, "target": "hard"},
    ],
)
def test_a_loss_that_is_not_0_is_allowed(values: dict[str, Any]) -> None:
    assert make(values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"teacher": "frozen", "ema_rate": 0.1}, "ema_rate=0.1 has no effect, because teacher is not ema."),
        ({"copy_every": 5}, "copy_every=5 has no effect, because teacher is not copy."),
        ({"teacher": "copy", "copy_every": 99}, "copy_every=99 has no effect, because there are fewer steps"),
        ({"trust_region": 0.1}, "trust_region=0.1 has no effect, because teacher is not trust_region."),
        ({"divergence": "forward_kl", "mixture": 0.3}, "mixture=0.3 has no effect, because divergence is not jsd."),
        ({"support": "full", "top_k": 5}, "top_k=5 has no effect, because support is full."),
        ({"support": "full", "tail": False}, "tail=false has no effect, because support is full."),
        ({"divergence": "sampled_token", "support": "full"}, "support=full has no effect, because divergence=sampled"),
        ({"vllm_engine_args": {"max_model_len": 9}}, 'vllm_engine_args={"max_model_len": 9} has no effect, because'),
        ({"vllm_gpu_memory_utilization": 0.5}, "vllm_gpu_memory_utilization=0.5 has no effect, because use_vllm is"),
        ({"use_vllm": True, "rollout_tokens": 9}, "rollout_tokens=9 has no effect, because vLLM fills its own"),
        ({"importance_cap": 2}, "importance_cap=2.0 has no effect, because the trainer itself samples"),
        ({"lora_rank": 8}, "lora_rank=8 has no effect, because lora is false."),
        ({"lora_targets": "q_proj"}, "lora_targets=q_proj has no effect, because lora is false."),
        ({"teacher_view": "boxed", "teacher_enlarge": 3}, "teacher_enlarge=3.0 has no effect, because teacher_view is"),
        ({"anchor_share": 0.1, "prompts_per_step": 4}, "anchor_share=0.1 has no effect, because it is less than half"),
        ({"tilt": 2}, "tilt=2.0 has no effect, because target is teacher."),
        ({"null_view": "hide"}, "null_view=hide has no effect, because neither target nor weights use it."),
        (
            {"target": "hard", "tilt": 0, "null_view": "hide"},
            "null_view=hide has no effect, because neither target nor",
        ),
        ({"weight_gamma": 0}, "weight_gamma=0.0 has no effect, because weights is none."),
        ({"weights": "evidence", "weight_alpha": 0}, "weights=evidence has no effect, because weight_alpha is 0."),
        ({"weights": "evidence", "weight_min": 2}, "weights=evidence has no effect, because weight_min and weight_max"),
        (
            {"student_view": "degraded", "teacher_view": "full", "region": "union"},
            "region=union has no effect, because",
        ),
        ({"steps": 5, "schedule": "cosine"}, "schedule=cosine has no effect, because the warm-up lasts to the end."),
        ({**SAME, "teacher": "model", "teacher_model": "m", "region": "union"}, "region=union has no effect, because"),
    ],
)
def test_a_setting_remarks_is_named_with_the_reason(values: dict[str, Any], says: str) -> None:
    (said,) = remarks(make(values))
    assert said.startswith(says)


@pytest.mark.parametrize(
    "values", [SAME, {**SAME, "teacher": "frozen"}, {"anchor_share": 1}, {"student_view": "crop", "teacher_enlarge": 1}]
)
def test_a_control_that_learns_nothing_from_the_data_is_called_one(values: dict[str, Any]) -> None:
    (said,) = remarks(make(values))
    assert "starts from the student's weights. So the loss is 0 at first" in said
    assert "this is a control without evidence" in said


def test_every_rule_about_settings_remarks_names_settings() -> None:
    assert {key for keys, _, _ in WITHOUT_EFFECT for key in keys} <= set(Recipe.model_fields)


@pytest.mark.parametrize("name", names())
def test_the_recipes_that_come_with_gapbench_say_nothing_in_vain(name: str) -> None:
    assert remarks(load(name)) == []


@pytest.mark.parametrize(
    ("override", "says"),
    [("steps", "expected key=value"), ("=3", "expected key=value"), ("steps=[1", r"steps=\[1: .* is not a YAML value")],
)
def test_an_override_that_is_none_is_refused(override: str, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        load("demo", [override])


def test_a_recipe_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r"--recipe vision-opt: unknown\. Did you mean vision-opd.*demo, hard, lora-1gpu"
    ):
        load("vision-opt")
    with pytest.raises(SettingError, match=r"gone\.yaml: file not found"):
        load(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"steps: [1", "cannot be read as YAML"), (b"- steps", "found list"), (b"\xff\xfe\x00", "cannot be read as YAML")],
)
def test_a_file_that_is_no_recipe_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(GapbenchError, match=says):
        load(path)


def test_a_recipe_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().steps = 3  # type: ignore[misc]
