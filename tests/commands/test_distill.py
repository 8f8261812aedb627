"""Measure, train, measure again: what is read of the data, what is left out, and what is never overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from distillation.trainings import apart, crash, same, steps, train
from helpers import edit, write_benchmark
from PIL import Image

from gapbench.commands.distill import _turned_remark
from gapbench.data.catalogue import load
from gapbench.distillation import recipe as recipes
from gapbench.errors import BenchmarkError, RunError, SettingError

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 questions about six images."""
    return write_benchmark(tmp_path_factory.mktemp("data"), questions=12)


@pytest.fixture(scope="module")
def model(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model for which seven of eight tokens end an answer: with one end it would say 128 tokens each time."""
    folder = shutil.copytree(tiny("qwen3_vl"), tmp_path_factory.mktemp("brief") / "model")
    tokens = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    own = json.loads((folder / "generation_config.json").read_text())
    own["eos_token_id"] = [own["eos_token_id"], *(token for token in range(50, tokens) if token % 8)]
    (folder / "generation_config.json").write_text(json.dumps(own))
    return folder


@pytest.fixture(scope="module")
def plain(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps on all of them."""
    out = tmp_path_factory.mktemp("plain") / "out"
    train(model, data, out, "keep_checkpoints=9")
    return out


def copy(data: Path, folder: Path) -> Path:
    shutil.copytree(data.parent, folder)
    return folder / data.name


def told(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "distill.json").read_text())
    return found


UNLABELLED = """
from dataclasses import replace
from pathlib import Path
from gapbench.data import own as user_data
from gapbench.types import Card
CARD = Card(name="mine", title="Mine", source="here", licence="own")
def samples(labels: bool = True):
    for sample in user_data.read(Path(__file__).parent / "mine.jsonl"):
        yield sample if labels else replace(sample, answers=())
"""


def test_answers_are_never_read(model: Path, data: Path, plain: Path, tmp_path: Path) -> None:
    removed, other = tmp_path / "removed", tmp_path / "other"
    script = copy(data, tmp_path / "script").with_name("mine.py")
    script.write_text(UNLABELLED)
    train(model, f"{script}:labels=false", removed)
    same(removed, plain)

    wrong = copy(data, tmp_path / "wrong")
    for line in range(12):
        edit(wrong, line, answer="no" if line % 2 else "yellow")
    train(model, wrong, other)
    same(other, plain)


def test_before_and_after_ask_the_same_questions(model: Path, data: Path, tmp_path: Path) -> None:
    """A benchmark with evidence in both views, a hold-out without in the full one."""
    tested = copy(data, tmp_path / "tested")
    holdout = copy(data, tmp_path / "held")
    for line in range(12):
        edit(holdout, line, bbox=None, bbox_format=None)
    holdout = holdout.rename(holdout.with_name("holdout.jsonl"))
    out = tmp_path / "out"
    done = train(model, data, out, "steps=1", "contamination=keep",
                 eval=[str(tested), str(holdout)], eval_limit=4)  # fmt: skip
    assert done.comparison is not None
    for side in ("before", "after"):
        rows = [json.loads(line) for line in (out / side / "records.jsonl").read_text().splitlines()]
        assert sorted((r["benchmark"], r["view"]) for r in rows) == (
            [("holdout", "full")] * 4 + [("mine", "crop")] * 4 + [("mine", "full")] * 4
        )
    found = json.loads((out / "comparison.json").read_text())["benchmarks"]
    assert found["mine"]["delta"]["gap"] is not None
    assert "gap" not in found["holdout"]["delta"] or found["holdout"]["delta"]["gap"] is None
    assert (out / "comparison.html").is_file()
    assert "Measured before and after" in (out / "model" / "README.md").read_text()


def test_what_was_done_is_kept(model: Path, data: Path, tmp_path: Path) -> None:
    train(model, data, tmp_path, "steps=1", command="gapbench distill …", limit=8)
    first = told(tmp_path)
    assert recipes.load(tmp_path / "recipe.yaml").steps == 1
    assert first["data"]["samples"] == 8
    assert first["training"]["steps"] == 1
    assert first["training"]["selfcheck"]["difference"] < 1e-4
    written = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns

    train(model, data, tmp_path, "steps=1", command="again", limit=8, resume=True)
    again = told(tmp_path)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == written, "it was trained a second time"
    assert again["training"] == first["training"]
    assert [s["command"] for s in again["sessions"]] == ["gapbench distill …", "again"]
    assert again["command"] == "gapbench distill …"


def test_more_steps_are_measured_anew(model: Path, data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"eval": [str(data)], "eval_limit": 2}
    train(model, data, tmp_path, "steps=1", "contamination=keep", **options)
    before, after = ((tmp_path / side / "run.json").read_text() for side in ("before", "after"))
    train(model, data, tmp_path, "steps=2", "contamination=keep", **options, resume=True)
    identities = [json.loads((tmp_path / side / "run.json").read_text())["sha256"] for side in ("before", "after")]
    assert identities[0] == json.loads(before)["sha256"]
    assert identities[1] != json.loads(after)["sha256"]


@pytest.mark.slow
def test_hold_outs_on_this_machine_are_measured_unless_refused(
    model: Path, data: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They change no weight. A resumed training keeps them; one that names a hold-out of its own gets no other."""
    out = tmp_path / "out"
    done = train(model, data, out, "keep_checkpoints=9", holdout=True, eval_limit=2, quiet=False)
    assert "hold-outs, measured before and after: signs_colour" in capsys.readouterr().err
    assert done.comparison is not None
    assert list(done.comparison.summary["benchmarks"]) == ["signs_colour"]
    for side in ("before", "after"):
        rows = [json.loads(line) for line in (out / side / "records.jsonl").read_text().splitlines()]
        assert [(r["benchmark"], r["view"]) for r in rows] == [("signs_colour", "full")] * 2
    same(out, plain)
    assert not (plain / "before").exists()
    train(model, data, out, "keep_checkpoints=9", holdout=False, eval_limit=2, resume=True)
    assert told(out)["holdouts"] == ["signs_colour"]

    named = tmp_path / "named"
    train(model, data, named, "steps=1", holdout=True, eval=["signs_colour"], eval_limit=2)
    assert told(named)["holdouts"] == []


# --- boxes of a region file ---------------------------------------------------------------------------------


def located(data: Path, path: Path, model: str, samples: int = 12) -> Path:
    """A region file for the first samples, with the boxes that the data has."""
    rows = [json.loads(line) for line in data.read_text().splitlines()][:samples]
    lines = [{"id": row["id"], "bbox": row["bbox"], "model": model, "method": "attention"} for row in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def without_boxes(data: Path, folder: Path) -> Path:
    bare = copy(data, folder)
    for line in range(12):
        edit(bare, line, bbox=None, bbox_format=None)
    return bare


def test_data_without_boxes_is_trained_on_with_those_of_a_region_file(
    model: Path, data: Path, plain: Path, tmp_path: Path
) -> None:
    """The same boxes make the same training, whoever drew them; without any there is none."""
    bare = without_boxes(data, tmp_path / "bare")
    with pytest.raises(BenchmarkError, match=r"none of its 12 samples has an evidence box.*gapbench locate.*--regions"):
        train(model, bare, tmp_path / "refused")
    out = tmp_path / "out"
    train(model, bare, out, regions=located(data, tmp_path / "r.jsonl", str(model)))
    same(out, plain)
    assert told(plain)["regions"] is None


@pytest.mark.slow
def test_boxes_of_a_model_are_marked_as_such_everywhere(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also that another model than the student located them, and how many samples have none."""
    bare = without_boxes(data, tmp_path / "bare")
    regions = located(data, tmp_path / "r.jsonl", "other/model", samples=8)
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match=r"names 8 of 12 samples of mine\. .*nothing is trained on them"):
        train(model, bare, out, "steps=1", "contamination=keep", regions=regions, eval=[str(data)], eval_limit=2,
              quiet=False)  # fmt: skip
    said = capsys.readouterr().err
    assert "--regions r.jsonl: evidence boxes that a model located (attention with other/model)" in said
    assert f"They are those of other/model, not of the student {model}." in said
    assert "mine: 4 of 12 samples have no evidence box in the region file and are left out." in said

    details, comparison = told(out), json.loads((out / "comparison.json").read_text())
    assert (details["regions"]["models"], details["regions"]["samples"]) == (["other/model"], 8)
    assert comparison["train"]["regions"] == details["regions"]
    card = (out / "model" / "README.md").read_text()
    assert "8 samples with evidence boxes that a model located (attention with other/model), none of them" in card
    for page in ("comparison.html", "comparison.md"):
        text = (out / page).read_text()
        assert "were located by a model, not annotated." in text
        assert "The regions come from r.jsonl, made by attention with other/model." in text


def test_a_training_goes_on_with_its_own_region_file_alone(model: Path, data: Path, tmp_path: Path) -> None:
    first, other = (located(data, tmp_path / f"{name}.jsonl", name) for name in ("first", "other"))
    train(model, data, tmp_path / "out", "steps=1", regions=first)
    for regions in (other, None):
        with pytest.raises(RunError, match=r"it was started with --regions with the SHA-256 '\w{32}', and now it is"):
            train(model, data, tmp_path / "out", "steps=2", regions=regions, resume=True)
    train(model, data, tmp_path / "out", "steps=2", regions=first.rename(tmp_path / "renamed.jsonl"), resume=True)
    assert len(steps(tmp_path / "out")) == 2


BY_SPLIT = """
from pathlib import Path
from gapbench.data import own as user_data
from gapbench.types import Card
CARD = Card(name="mine", title="Mine", source="here", licence="own")
def samples(split: str = "test"):
    yield from user_data.read(Path(__file__).parent / "mine.jsonl")
"""


def test_boxes_of_another_split_are_not_taken_for_those_of_the_training_split(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """Equal ids may be other samples there; `gapbench locate -b mine` located the test split."""
    script = without_boxes(data, tmp_path / "script").with_name("mine.py")
    script.write_text(BY_SPLIT)
    rows = [json.loads(line) for line in located(data, tmp_path / "r.jsonl", "M").read_text().splitlines()]

    def regions(benchmark: str) -> Path:
        path = tmp_path / "named.jsonl"
        path.write_text("".join(json.dumps(row | {"benchmark": benchmark}) + "\n" for row in rows))
        return path

    with pytest.raises(BenchmarkError, match=r"it has a box for none of the 12 samples.*'mine: q0'.*mine:split=train"):
        train(model, script, tmp_path / "out", "steps=1", regions=regions("mine"))
    train(model, f"{script}:split=test", tmp_path / "test", "steps=1", regions=regions("mine"))
    train(model, script, tmp_path / "train", "steps=1", regions=regions("mine:split=train"))


# --- contamination ------------------------------------------------------------------------------------------


def questions(of: Path, first: int, last: int, name: str) -> Path:
    """A file with some of another's questions, beside it."""
    lines = of.read_text().splitlines(keepends=True)
    path = of.with_name(name)
    path.write_text("".join(lines[first:last]))
    return path


def test_training_images_that_are_tested_are_listed_and_left_out(
    model: Path, data: Path, plain: Path, tmp_path: Path
) -> None:
    own = copy(data, tmp_path / "own")
    tested = questions(own, 0, 4, "tested.jsonl")  # two of the six images
    clean = questions(own, 4, 12, "clean.jsonl")
    out = tmp_path / "out"
    train(model, own, out, eval=[str(tested)], eval_limit=4)
    kinds = {"bytes": 2, "pixels": 0, "copy": 0, "crop": 0}
    where = [{"benchmark": "tested", "sample": f"q{i - i % 2}", "kind": "bytes", "similarity": 1.0} for i in range(4)]
    assert told(out)["contamination"] == {
        "policy": "drop",
        "images": 6,
        "evaluations": {"tested": kinds},
        "shared": {f"q{i}": [where[i]] for i in range(4)},
    }
    sentence = "2 of 6 training images occur in tested: 2 identical, 0 rescaled or re-encoded, 0 cropped."
    for page in ("comparison.html", "comparison.md", "model/README.md"):
        assert f"{sentence} They were left out." in (out / page).read_text()
    comparison = json.loads((out / "comparison.json").read_text())
    assert comparison["train"]["contamination"] == {"policy": "drop", "images": 6, "evaluations": {"tested": kinds}}
    assert not any("training images" in alert["text"] for alert in comparison["alerts"])
    train(model, clean, tmp_path / "clean")
    assert apart(out / "model", tmp_path / "clean" / "model") == 0

    kept = tmp_path / "kept"
    shutil.copytree(out / "before", kept / "before")  # the same model, asked the same
    train(model, own, kept, "contamination=keep", eval=[str(tested)], eval_limit=4)
    assert told(kept)["contamination"]["shared"] == told(out)["contamination"]["shared"]
    alerts = json.loads((kept / "comparison.json").read_text())["alerts"]
    assert {"benchmark": "tested", "text": f"{sentence} They were trained on."} in alerts
    same(kept, plain)


def test_data_that_is_all_tested_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"all 12 training samples show .* in --eval .*contamination=keep"):
        train(model, data, tmp_path, eval=[str(data)])


def test_a_resumed_training_must_drop_the_same(model: Path, data: Path, plain: Path, tmp_path: Path) -> None:
    own = copy(data, tmp_path / "own")
    tested = questions(own, 0, 4, "tested.jsonl")
    crashed = crash(plain, tmp_path / "crashed", 2, later=(4,))
    with pytest.raises(RunError, match=r"without 0 samples .* --eval, and now it would be without 4"):
        train(model, own, crashed, eval=[str(tested)], resume=True)
    assert not (crashed / "before").exists()


# --- folders ------------------------------------------------------------------------------------------------


def test_nothing_is_trained_over_a_training_or_a_model(model: Path, data: Path, tmp_path: Path) -> None:
    train(model, data, tmp_path / "out", "steps=1")
    with pytest.raises(RunError, match=r"out: there is a training or a model already.*--resume.*another --out"):
        train(model, data, tmp_path / "out", "steps=1")
    mine = tmp_path / "mine" / "model"  # `gapbench distill mine/model --out mine` must not replace its own source
    shutil.copytree(model, mine)
    for resume in (False, True):
        with pytest.raises(RunError, match="another --out"):
            train(mine, data, mine.parent, "steps=1", resume=resume)
    assert apart(mine, model) == 0


def test_a_resumed_training_is_the_one_that_was_started(model: Path, tiny: Tiny, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(model, data, out, "steps=1")

    def refused(words: str, *settings: str, model: Path = model, train_data: Path = data, **more: Any) -> None:
        with pytest.raises(RunError, match=words):
            train(model, train_data, out, "steps=1", *settings, resume=True, **more)

    refused(r"learning_rate 0\.0003, and now it is 0\.01", "learning_rate=0.01")
    refused("teacher 'ema', and now it is 'frozen'", "teacher=frozen")
    refused("model files with the SHA-256", model=tiny("gemma3"))
    refused("max_pixels not set, and now it is 4000", "max_pixels=4000")
    refused("this number of samples: 12, and now it is 8", limit=8)
    other = copy(data, tmp_path / "other")
    edit(other, 3, question="Is the small patch pink?")
    refused("samples with the fingerprint", train_data=other)
    (out / "distill.json").write_text('{"mod')
    refused("no training that can be resumed")


def test_a_hub_model_counts_by_its_name(tmp_path: Path) -> None:
    """Its content is not known before it is loaded."""
    from gapbench.distillation.resume import continue_or_refuse

    data: dict[str, object] = {"name": "mine", "samples": 3}
    identity = {"model": "one/model", "revision": "unknown", "data": data}
    (tmp_path / "train.jsonl").touch()
    (tmp_path / "recipe.yaml").write_text(recipes.dump(recipes.make({})))
    (tmp_path / "distill.json").write_text(json.dumps(identity))
    assert continue_or_refuse(tmp_path, identity, recipes.make({}), resume=True) == identity
    with pytest.raises(RunError, match=r"'one/model', and now it is 'another/model'"):
        continue_or_refuse(tmp_path, {**identity, "model": "another/model"}, recipes.make({}), resume=True)
    # An older training recorded no protocol, and asked neutrally.
    asked = {name: {**identity, "data": {**data, "protocol": name}} for name in ("neutral", "original")}
    assert continue_or_refuse(tmp_path, asked["neutral"], recipes.make({}), resume=True) == identity
    with pytest.raises(RunError, match=r"protocol 'neutral', and now it is 'original'"):
        continue_or_refuse(tmp_path, asked["original"], recipes.make({}), resume=True)


# --- the card -----------------------------------------------------------------------------------------------


def test_the_card_says_how_the_model_was_made(model: Path, data: Path, tmp_path: Path) -> None:
    train(model, data, tmp_path, "steps=1", command="gapbench distill MODEL --data mine.jsonl")
    text = (tmp_path / "model" / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers", "pipeline_tag": "image-text-to-text",
        "tags": ["gapbench", "on-policy-distillation", "vision-opd"],
    }  # fmt: skip
    assert "`gapbench distill MODEL --data mine.jsonl`" in body
    assert "1 steps of 4 prompts x 2 rollouts" in body
    block = body.split("## Recipe\n\n")[1]
    assert recipes.make(yaml.safe_load(block)) == recipes.load(tmp_path / "recipe.yaml")


def test_several_seeds_are_trained_side_by_side_and_compared_together(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, tested = tmp_path / "out", copy(data, tmp_path / "tested")
    settings = ("steps=2", "seed=5", "contamination=keep")
    found = train(model, data, out, *settings, eval=[str(tested)], eval_limit=4, seeds=2)
    assert [one.path.name for one in found.seeds] == ["seed-5", "seed-6"]
    assert apart(out / "seed-5" / "model", out / "seed-6" / "model") > 0
    befores = [(out / f"seed-{n}" / "before" / "records.jsonl").read_bytes() for n in (5, 6)]
    assert befores[0] == befores[1], "what is measured before is measured once"
    assert found.comparison is not None
    assert len(found.comparison.summary["seeds"]["after"]) == 2
    assert found.comparison.summary["verdict"].startswith("Over 2 trainings the gap on ")
    assert (out / "comparison.html").exists()
    times = [(one.path / "model" / "model.safetensors").stat().st_mtime_ns for one in found.seeds]
    train(model, data, out, *settings, eval=[str(tested)], eval_limit=4, seeds=2, resume=True)
    assert times == [(one.path / "model" / "model.safetensors").stat().st_mtime_ns for one in found.seeds]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match=r"each training needs its own launch.*--seed N"):
        train(model, data, tmp_path / "two", seeds=2)


def test_photos_that_are_not_turned_are_counted_before_the_training(tmp_path: Path) -> None:
    """Student and teacher would both see them as stored, and the teacher perhaps another place."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, own in (("turned.jpg", {"exif": exif}), ("plain.jpg", {})):
        Image.new("RGB", (40, 30)).save(tmp_path / name, **own)
    row = {"question": "What?", "answer": "x", "bbox": [1, 1, 9, 9], "bbox_format": "xyxy"}
    rows = [row | {"image": name} for name in ("turned.jpg", "plain.jpg", "gone.jpg")]
    (path := tmp_path / "mine.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))

    def remark(parameters: str) -> str:
        return _turned_remark(own := load(f"{path}{parameters}"), own.samples())

    assert remark("").startswith("mine: of 3 samples looked at, 1 has an image with an EXIF orientation, which is not")
    assert ":orientation=upright" in remark("")
    assert [remark(":orientation=upright"), remark(":orientation=stored")] == ["", ""]
