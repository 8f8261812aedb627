"""Suites: what is asked under one name never changes, is the same for every model, and cannot be changed by a flag."""

from __future__ import annotations

import pytest

from gapbench.data import catalogue, suites
from gapbench.data.task import TaskSettings, make_tasks
from gapbench.errors import BenchmarkError, SettingError
from gapbench.views.regions import parse_policy
from gapbench.views.views import parse_views

VIEWS = parse_views("full,crop")
PUBLISHED = {
    "core@1": "d7259f841cbae67a67cae2afd2f906cf13e9e620606f500703158ead9c66c76f",
    "signs-core@1": "1366a34fad66e751b1ff53516306336c8a64f6bcd8bb38eee461333dc2bea1ea",
}
"""A version that was published keeps its hash for ever; a new version gets a line of its own."""


def test_a_published_version_never_changes() -> None:
    assert {name: suite.sha256 for name, suite in suites.all_suites().items()} == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_task_can_be_asked_as_the_suite_says(name: str) -> None:
    suite = suites.load(name)
    names = [task.name or task.benchmark for task in suite.tasks]
    assert len(set(names)) == len(names)
    for task in suite.tasks:
        benchmark = task.loaded()
        assert benchmark.parameters == task.parameters
        assert bool(task.region) == (benchmark.card.role == "evidence"), f"{task.benchmark}: a region, or a hold-out"
        if task.region:
            assert parse_policy(task.region)


def test_signs_core_needs_no_download_and_is_the_same_for_every_model() -> None:
    settings = TaskSettings(VIEWS)
    prefers = {"signs": {"canvas": 64, "options": True}}
    plain, preferred = (make_tasks("signs-core@1", settings, model)[0] for model in (None, prefers))
    assert [task.name for task in plain] == ["signs-few", "signs-many", "signs-wide", "signs_colour"]
    assert [task.entry() for task in plain] == [task.entry() for task in preferred]
    assert {task.entry()["suite"]["name"] for task in plain} == {"signs-core@1"}
    assert {task.entry()["suite"]["sha256"] for task in plain} == {PUBLISHED["signs-core@1"]}
    assert [len(task.samples) for task in plain] == [300, 300, 300, 200]
    assert [[view.name for view in task.views] for task in plain] == [["full", "crop"]] * 3 + [["full"]]


def test_a_benchmark_of_its_own_names_no_suite() -> None:
    (task,), _ = make_tasks("signs", TaskSettings(VIEWS, limit=5))
    assert "suite" not in task.entry()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (TaskSettings(VIEWS, limit=5), "--limit 5: the suite signs-core@1 fixes what is asked, and it has no --limit"),
        (TaskSettings(VIEWS, region="union"), "--region union"),
        (TaskSettings(VIEWS, protocol="original"), "--protocol original: .* it has --protocol neutral"),
        (TaskSettings(parse_views("full")), "--views full: .* it has --views full,crop"),
        (TaskSettings(VIEWS, temperature=0.7), "--temperature 0.7"),
        (TaskSettings(VIEWS, seed=3), "--seed 3"),
    ],
)
def test_a_flag_that_a_suite_fixes_is_refused(settings: TaskSettings, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        make_tasks(["signs-core@1"], settings)


def test_a_suite_in_words_says_all_that_it_fixes() -> None:
    text = suites.text_of("signs-core@1")
    assert PUBLISHED["signs-core@1"] in text
    assert "views full,crop, protocol neutral, temperature 0, seed 0" in text
    assert "signs-few (signs): the first 300 samples, region padded, canvas=96, signs_min=3" in text
    assert "signs_colour: all samples, full view" in text


def test_an_unknown_version_is_refused_with_those_that_exist() -> None:
    with pytest.raises(BenchmarkError, match=r"-b core@9: there is no such suite\. Known are core@1, signs-core@1"):
        make_tasks("core@9", TaskSettings(VIEWS))


def test_a_suite_and_one_of_its_tasks_are_not_asked_together() -> None:
    with pytest.raises(SettingError, match="signs_colour' is asked for twice"):
        make_tasks(["signs-core@1", "signs_colour"], TaskSettings(VIEWS))


def test_the_hash_covers_prompt_region_limit_and_pinned_revision() -> None:
    suite = suites.load("core@1")
    first, *others = suite.tasks
    for changed in (
        suite.model_copy(update={"protocol": "original", "tasks": suite.tasks[:1]}),
        suite.model_copy(update={"tasks": (first.model_copy(update={"region": "union"}), *others)}),
        suite.model_copy(update={"tasks": (first.model_copy(update={"limit": 3}), *others)}),
        suite.model_copy(update={"tasks": tuple(others)}),
        suite.model_copy(update={"seed": 1}),
    ):
        assert changed.sha256 != suite.sha256
    assert suite.model_copy(update={"title": "other words"}).sha256 == suite.sha256
    assert all(catalogue.load(task.benchmark).card.revision for task in suite.tasks), "pinned, so that data is equal"
