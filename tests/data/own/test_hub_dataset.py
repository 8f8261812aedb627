"""A data set of the Hub is fetched once, read as any table, and said clearly when it cannot be had."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from tests.hub_server import COMMIT, Hub

CODE = """
import sys
from gapbench.data.catalogue import load
from gapbench.errors import BenchmarkError
from gapbench.views.images import decode
for spec in sys.argv[1:]:
    try:
        for s in load(spec).samples():
            print(s.id, decode(s.image)[0].size, s.question, s.answers, s.options, s.category, s.boxes, s.box_format)
    except BenchmarkError as error:
        print("BenchmarkError:", error)
"""

FEATURES = datasets.Features({
    "image": datasets.Image(), "problem": datasets.Value("string"), "choices": datasets.List(datasets.Value("string")),
    "answer": datasets.Value("string"), "category": datasets.ClassLabel(names=["ocr", "colour"]),
    "bbox": datasets.List(datasets.Value("float32"), length=4),
})  # fmt: skip
MAP = "question=problem,options=choices,bbox_format=xyxy"
READ = "1 (40, 30) Test? ('B',) ('red', 'blue') colour ((1.0, 2.0, 3.0, 4.0),) xyxy"


BUFFER = io.BytesIO()
Image.new("RGB", (40, 30), "red").save(BUFFER, "PNG")
PNG = BUFFER.getvalue()

OUTSIDE = {
    "relative": "../../../../../../../../../../../../../../../../etc/hostname",
    "absolute": "/etc/hostname",
    "list": ["/etc/hostname"],
    "text-of-a-list": '["/etc/hostname"]',
    "path": {"bytes": None, "path": "/etc/hostname"},
    "bytes": {"bytes": "/etc/hostname", "path": "a.png"},
    "long": f"{'/.' * 3000}/etc/hostname",
    "heavy": {"bytes": None, "path": "/etc/hostname", "more": "x" * 5000},
    "null": "a\0b",
}
"""Cells that name a file of the machine that reads them, as text, as a Hub image, and in forms that are read late."""


def lines(image: Any) -> bytes:
    return json.dumps({"image": image, "problem": "Test?", "answer": "blue"}).encode() + b"\n"


def parquet(question: str) -> bytes:
    rows = {
        "image": [{"bytes": PNG, "path": "a.png"}], "problem": [question], "choices": [["red", "blue"]],
        "answer": ["blue"], "category": [1], "bbox": [[1, 2, 3, 4]],
    }  # fmt: skip
    file = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=FEATURES).to_parquet(file)
    return file.getvalue()


Ask = Callable[..., str]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Ask]]:
    """A Hub with two data sets, and a function that loads one in a fresh process whose cache is kept."""
    home = tmp_path_factory.mktemp("home")
    test = parquet("Test?")
    repos = {
        "me/two": {"data/test-00000-of-00001.parquet": test, "data/train-00000-of-00001.parquet": parquet("Train?")},
        "me/one": {"test.parquet": test},
        "me/folder": {
            "metadata.jsonl": b'{"file_name": "a.png", "problem": "Test?", "answer": "blue"}\n',
            "a.png": PNG,
        },
        **{f"me/outside-{kind}": {"test.jsonl": lines(image)} for kind, image in OUTSIDE.items()},
    }
    with Hub(repos) as found:
        environment: dict[str, Any] = {**os.environ, **found.environment(home)}

        def ask(*specs: str, first: str = "", **more: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", first + CODE, *specs], capture_output=True, text=True, check=True,
                env={**environment, **more}, cwd=Path(__file__).parents[3], timeout=300,
            )  # fmt: skip
            return done.stdout.strip()

        yield found, ask


def test_it_is_fetched_once_and_then_read_without_the_hub(hub: tuple[Hub, Ask]) -> None:
    server, ask = hub
    spec = f"me/two:split=test,{MAP}"
    assert ask(spec) == READ
    server.asked.clear()
    assert ask(f"{spec},revision={COMMIT}") == READ
    assert server.downloads() == []
    assert ask(spec, HF_HUB_OFFLINE="1") == READ
    assert ask(f"{spec},revision={COMMIT}", HF_HUB_OFFLINE="1") == READ
    other = ask(f"{spec},revision={'a' * 40}", HF_HUB_OFFLINE="1")
    assert f"the cache holds revision {COMMIT}; expected aaaa" in other


def test_the_only_split_need_not_be_named(hub: tuple[Hub, Ask]) -> None:
    assert hub[1](f"me/one:{MAP}") == READ


def test_what_is_wrong_is_said_with_what_there_is(hub: tuple[Hub, Ask]) -> None:
    wrong = [
        (f"me/two:{MAP}", "me/two: it has the splits train, test; none was named. Say which behind the name: :split="),
        (f"me/two:split=tset,{MAP}", "split=tset is none of them"),
        (f"me/two:split=test,config=other,{MAP}", "'other' not found. Available: ['default']"),
        ("me/nothing:split=test", "there is no such file or folder here, nor can it be had from the Hub"),
        ("me/nothing:split=test", "log in (`hf auth login`, or HF_TOKEN); a local copy of its files works, too"),
        ("me/two:revision=v9", "Revision 'v9' doesn't exist"),
        ("me/two:split=test", "row 1: column 'question' is missing; expected text. Found columns: image, problem,"),
    ]
    said = hub[1](*(spec for spec, _ in wrong)).splitlines()
    for (spec, says), message in zip(wrong, said, strict=True):
        assert message.startswith("BenchmarkError: "), spec
        assert says in message, spec


def test_out_of_reach_and_not_in_the_cache(hub: tuple[Hub, Ask]) -> None:
    message = hub[1]("me/elsewhere:split=test", HF_HUB_OFFLINE="1")
    assert "me/elsewhere: there is no such file or folder here, and the Hub is out of reach" in message
    assert "a local copy of its files works, too: -b FOLDER" in message


def test_a_stranger_s_data_names_no_file_of_this_machine(hub: tuple[Hub, Ask]) -> None:
    said = hub[1](*(f"me/outside-{kind}:question=problem" for kind in OUTSIDE)).splitlines()
    for kind, message in zip(OUTSIDE, said, strict=True):
        assert message.startswith("BenchmarkError: "), kind
        assert "which lies outside the data set. Do not trust this data; or look at it, and pass" in message, kind


def test_an_image_folder_of_the_hub_is_read_from_the_cache(hub: tuple[Hub, Ask]) -> None:
    assert hub[1]("me/folder:question=problem").startswith("1 (40, 30) Test? ('blue',)")


def test_credentials_of_a_mirror_are_not_said(hub: tuple[Hub, Ask]) -> None:
    server, ask = hub
    mirror = server.url.replace("http://", "http://me:hunter2@")
    at_once = "import time; time.sleep = lambda seconds: None"  # the Hub's client waits 23 s between its six tries
    message = ask("me/never:split=test", HF_ENDPOINT=mirror) + ask(
        "me/never:split=test", first=at_once, HF_ENDPOINT="http://me:hunter2@127.0.0.1:9"
    )
    assert message.count("BenchmarkError: ") == 2
    assert "hunter2" not in message
