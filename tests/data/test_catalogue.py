"""Benchmarks are found by name, file or data, checked before use, and identified by what they ask."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gapbench.data import catalogue
from gapbench.data.benchmark import Benchmark, fingerprint
from gapbench.data.catalogue import load
from gapbench.errors import BenchmarkError, SettingError
from gapbench.types import Card, Sample

CARD = Card("own", "Own", "nowhere", "CC0")
SAMPLE = Sample(
    "1", b"bytes of an image", "Which letter?", ("A",), options=("K", "M"), answer_type="letter",
    boxes=((1.0, 2.0, 3.0, 4.0),), category="letter", cluster="one", crop_image=b"bytes of a crop",
)  # fmt: skip

OWN = """
from __future__ import annotations
from dataclasses import dataclass
from gapbench.types import Card, Sample

CARD = Card("own", "Own questions", "nowhere", "CC0")

@dataclass(frozen=True)
class Row:
    word: str

def samples(count: int = 2, word: str = "STOP", scale: float = 1.0, hard: bool = False, seed=None):
    for n in range(count):
        yield Sample(str(n), f"{n}.png", f"What is {Row(word).word}?", (f"{scale}", f"{hard}", f"{seed}"))
"""


def own(folder: Path, text: str = OWN) -> Path:
    path = folder / "own.py"
    path.write_text(text)
    return path


# --- finding ---------------------------------------------------------------------------------------------------


def test_the_catalogue_lists_and_loads_what_is_shipped() -> None:
    assert "signs" in catalogue.names()
    for name in catalogue.names():
        assert load(name).name == name
    assert load("signs").samples(3)[2].question


@pytest.mark.parametrize("name", ["sings", "sign", "Signs", "signss"])
def test_an_unknown_name_brings_the_nearest_one(name: str) -> None:
    with pytest.raises(BenchmarkError, match=rf"'{name}' is not in the catalogue\. Did you mean signs\?"):
        load(name)


@pytest.mark.parametrize("name", ["qqqq", "", "signs:", "../signs"])
def test_an_unknown_name_brings_the_known_ones(name: str) -> None:
    with pytest.raises(BenchmarkError, match=r"Known are .*signs.*\.jsonl, .*OWNER/NAME on the Hub, code .* \.py"):
        load(name)


def test_a_name_of_the_catalogue_comes_before_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("signs").card.source.startswith("generated")
    with pytest.raises(BenchmarkError, match="found nothing in this folder"):
        load("./signs")


@pytest.mark.parametrize("name", ["owner/name", "Owner-1/name.v2_x"])
def test_a_hub_id_is_a_benchmark_that_asks_nobody_until_its_samples_are_wanted(name: str) -> None:
    benchmark = load(f"{name}:split=test,question=problem,revision=abc")
    assert benchmark.name == name.split("/")[1]
    assert name in benchmark.card.source
    assert {"split", "config", "revision", "question", "bbox_format"} <= set(benchmark.settable)


def test_a_user_s_file_works_like_a_built_in_one(tmp_path: Path) -> None:
    benchmark = load(f"{own(tmp_path)}:count=3,word=GO")
    assert (benchmark.name, benchmark.card.title) == ("own", "Own questions")
    assert benchmark.parameters == {"count": 3, "word": "GO"}
    assert [s.question for s in benchmark.samples()] == ["What is GO?"] * 3
    assert len(benchmark.samples(1)) == 1


def test_two_files_of_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = load(str(own(tmp_path)))
    second = load(str(own(tmp_path / "other", OWN.replace("What", "Who"))))
    assert first.samples()[0].question == "What is STOP?"
    assert second.samples()[0].question == "Who is STOP?"


DATA = """
from pathlib import Path
from _shared import ANSWER, question
from gapbench.types import Card, Sample

CARD = Card("own", "Own questions", "my page", "CC0")

def samples(data: Path, count: int = 1):
    for n in range(count):
        yield Sample(str(n), data / "images" / f"{n}.png", question(data / "words.txt"), (ANSWER,))
"""


def with_data(folder: Path, word: str) -> Path:
    (folder / "copy").mkdir(parents=True)
    (folder / "copy" / "words.txt").write_text(word)
    (folder / "_shared.py").write_text(
        f"ANSWER = '{word}'\ndef question(path): return f'What is {{path.read_text()}}?'"
    )
    return own(folder, DATA)


def test_a_user_s_file_reads_a_local_copy_and_shares_code_with_others_beside_it(tmp_path: Path) -> None:
    path = with_data(tmp_path, "STOP")
    benchmark = load(f"{path}={tmp_path / 'copy'}:count=2")
    assert benchmark.samples() == [
        Sample(str(n), tmp_path / "copy" / "images" / f"{n}.png", "What is STOP?", ("STOP",), box_format="xyxy")
        for n in range(2)
    ]
    assert list(benchmark.settable) == ["count"]
    with pytest.raises(BenchmarkError, match=r"own: its data is not on the Hub\..*my page.*=FOLDER"):
        load(str(path)).samples()
    with pytest.raises(BenchmarkError, match=r"nowhere not found\. Expected NAME=FOLDER, a copy of its data"):
        load(f"{path}={tmp_path / 'nowhere'}")


def test_shared_code_of_one_name_does_not_disturb_other_folders(tmp_path: Path) -> None:
    words = ("STOP", "GO", "STOP")
    specs = [f"{with_data(tmp_path / str(n), w)}={tmp_path / str(n) / 'copy'}" for n, w in enumerate(words[:2])]
    benchmarks = [load(spec) for spec in (*specs, specs[0])]
    assert [b.samples()[0].answers for b in benchmarks] == [(w,) for w in words]


def test_data_takes_no_local_copy(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="signs: it reads no data"):
        load(f"signs={tmp_path}")


@pytest.mark.parametrize("name", ["missing.py", "missing.jsonl", "missing.csv", "a/missing.tsv", "missing.parquet"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchmarkError, match=rf"{name}: not found"):
        load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def samples(:", r"own\.py: it failed with SyntaxError.*line 1"),
        ("import nothing_like_this", r"own\.py: it failed with ModuleNotFoundError: .*nothing_like_this"),
        ("1 / 0", "it failed with ZeroDivisionError"),
        ("raise SystemExit(3)", "it failed with SystemExit: 3"),
        ("", "expected `CARD`.* found CARD: NoneType, samples: NoneType"),
        (OWN.replace("CARD =", "CARDS ="), "found CARD: NoneType, samples: function"),
        (OWN.replace("def samples", "def sample"), "found CARD: Card, samples: NoneType"),
        ("CARD = {}\ndef samples(): ...", "found CARD: dict"),
        (OWN.replace('"CC0"', '"CC0", region="padde"'), r"own\.py: in its CARD: Region policy 'padde' is unknown"),
        (OWN.replace('"CC0"', '"CC0", metrics=("f2",)'), r"own\.py: in its CARD: there is no metric 'f2'\. Known are"),
        (OWN.replace('"CC0"', '"CC0", official="mine"'), r"in its CARD: there is no official rule 'mine'\. Known are"),
        (
            OWN.replace('"CC0"', '"CC0", reference=("84.4",)'),
            r"own\.py: its CARD has the reference '84\.4'; expected a Publ",
        ),
        (
            OWN.replace('"CC0"', '"CC0", reference=(Published("m", 84.4, "a paper", protocol="orignal"),)').replace(
                "import Card", "import Card, Published"
            ),
            r"own\.py: its CARD has the reference Published\(.*protocol='orignal'.*a protocol of the card or none",
        ),
        (OWN.replace('"CC0"', '"CC0", box_format="yxyx"'), r"own\.py: its CARD says box_format 'yxyx'; expected one"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BenchmarkError, match=says):
        load(str(own(tmp_path, text)))


# --- parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ("count=7", "count", 7),
        ("count = 7", "count", 7),
        ("hard=true", "hard", True),
        ("hard=no", "hard", False),
        ("scale=2.5", "scale", 2.5),
        ("scale=2", "scale", 2.0),
        ("word=STOP", "word", "STOP"),
        ("word=007", "word", "007"),
        ("word=on", "word", "on"),
        ("word=", "word", ""),
        ("word=http://x:80", "word", "http://x:80"),
        ("word=a=b", "word", "a=b"),
        ("seed=5", "seed", 5),
        ("seed=five", "seed", "five"),
    ],
)
def test_a_parameter_is_read_as_the_type_of_its_default(tmp_path: Path, given: str, key: str, value: Any) -> None:
    parameters = load(f"{own(tmp_path)}:{given}").parameters
    assert parameters == {key: value}
    assert type(parameters[key]) is type(value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("size=3", r"no parameter 'size'\. It takes count, word, scale, hard, seed"),
        ("count=many", "count='many' is str; expected int, such as 2"),
        ("count=2.5", "count=2.5 is float; expected int"),
        ("count=true", "count=True is bool; expected int"),
        ("count=", "count=None is NoneType; expected int"),
        ("count=[1", r"count='\[1' is str; expected int"),
        ("hard=1", "hard=1 is int; expected bool"),
        ("scale=wide", "scale='wide' is str; expected float"),
        ("count=1,2", "'2' is not a parameter. Write NAME:key=value,key=value"),
        ("count=1,count=2", "'count=2' is given twice"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(tmp_path: Path, given: str, says: str) -> None:
    with pytest.raises(BenchmarkError, match=says):
        load(f"{own(tmp_path)}:{given}")


def test_a_model_s_wishes_hold_where_the_user_says_nothing(tmp_path: Path) -> None:
    spec = str(own(tmp_path))
    wishes: dict[str, dict[str, Any]] = {"own": {"count": 5, "word": "GO"}, "signs": {"canvas": 96}}
    assert load(spec, wishes).parameters == {"count": 5, "word": "GO"}
    assert load(f"{spec}:count=1", wishes).parameters == {"count": 1, "word": "GO"}
    assert load(spec).parameters == {}


def test_data_takes_the_columns_of_its_fields(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("{}")
    assert load(f"{tmp_path / 'mine.jsonl'}:question=Frage, id = 7").parameters == {"question": "Frage", "id": "7"}
    with pytest.raises(BenchmarkError, match=r"no parameter 'split'\. It takes id, image, question, answer"):
        load(f"{tmp_path / 'mine.jsonl'}:split=test")


# --- samples ---------------------------------------------------------------------------------------------------


def made_of(*samples: Any) -> Benchmark:
    return Benchmark("own", CARD, lambda: iter(samples))


def test_samples_are_made_no_further_than_asked() -> None:
    def endless() -> Iterator[Sample]:
        n = 0
        while True:
            yield dataclasses.replace(SAMPLE, id=str(n))
            n += 1

    assert [s.id for s in Benchmark("own", CARD, endless).samples(3)] == ["0", "1", "2"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(SettingError, match=f"--limit {limit}: expected at least 1"):
        made_of(SAMPLE).samples(limit)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    def unreadable() -> Iterator[Sample]:
        (tmp_path / "labels.csv").open()
        yield SAMPLE

    with pytest.raises(BenchmarkError, match=r"own: No such file or directory: .*labels\.csv\. Check the path"):
        Benchmark("own", CARD, unreadable).samples()


def test_a_benchmark_without_samples_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="own: it has no samples"):
        made_of().samples()


def test_an_id_that_comes_twice_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="own: the id '1' comes twice"):
        made_of(SAMPLE, dataclasses.replace(SAMPLE, question="Other?")).samples()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("answers", "STOP", r"answers is 'STOP'; expected a tuple of text"),
        ("answers", ["STOP"], r"answers is \['STOP'\]; expected a tuple"),
        ("answers", (3,), r"answers is \(3,\); expected a tuple of text"),
        ("options", None, "options is None; expected a tuple"),
        ("boxes", [(1, 2, 3, 4)], r"boxes is list \(.*\); expected a tuple, as \(\(10, 20, 40, 60\),\)"),
        ("boxes", None, "boxes is NoneType"),
        ("more_images", "two.png", "more_images is str"),
        ("id", 7, "sample 1: id is 7; expected text"),
        ("question", None, "question is None; expected text"),
        ("cluster", 3, "cluster is 3; expected text"),
        ("question", "a \ud800", r"question is 'a \\ud800'; expected text"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_before_any_model_is_asked(field: str, value: Any, says: str) -> None:
    with pytest.raises(BenchmarkError, match=says):
        made_of(dataclasses.replace(SAMPLE, **{field: value})).samples()


def test_what_is_no_sample_is_named_by_its_number() -> None:
    with pytest.raises(BenchmarkError, match="own: sample 2: found dict; expected a gapbench Sample"):
        made_of(SAMPLE, {"id": "2"}).samples()


def test_code_that_fails_is_the_benchmark_s_error() -> None:
    def broken() -> Iterator[Sample]:
        yield SAMPLE
        raise KeyError("column")

    with pytest.raises(BenchmarkError, match=r"own: its samples\(\) failed with KeyError: 'column'"):
        Benchmark("own", CARD, broken).samples()
    with pytest.raises(SettingError, match="signs: samples=0"):
        load("signs:samples=0").samples()


# --- fingerprint -----------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_all_samples_in_order() -> None:
    other = dataclasses.replace(SAMPLE, id="2")
    fingerprints = [fingerprint(s) for s in ([SAMPLE], [SAMPLE, other], [other, SAMPLE], [])]
    assert len(set(fingerprints)) == 4
    assert fingerprint([SAMPLE, other]) == fingerprints[1]
    assert all(len(f) == 32 for f in fingerprints)


CHANGES: dict[str, Any] = {
    "id": "2", "image": b"other bytes", "question": "Which Letter?", "answers": ("B",), "options": ("K", "N"),
    "answer_type": "text", "boxes": ((1.0, 2.0, 3.0, 4.5),), "box_format": "xywh", "category": "colour",
    "cluster": "two", "crop_image": None, "more_images": (b"a second image",), "published": "Which? Say a letter.",
    "max_image_pixels": 10**9, "evidence": "model", "upright": True,
}  # fmt: skip


def test_every_field_is_tried() -> None:
    # They follow from the region file, which the manifest identifies.
    left_out = {"boxes_in", "annotated", "annotated_format"}
    assert set(CHANGES) | left_out == {f.name for f in dataclasses.fields(Sample)}


@pytest.mark.parametrize("field", CHANGES)
def test_the_fingerprint_changes_with(field: str) -> None:
    assert fingerprint([dataclasses.replace(SAMPLE, **{field: CHANGES[field]})]) != fingerprint([SAMPLE])


def hash_of(image: Any) -> str:
    return fingerprint([dataclasses.replace(SAMPLE, image=image)])


def test_an_image_in_a_file_counts_by_name_and_size_not_by_folder(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(b"1234")
    first = hash_of(tmp_path / "a" / "x.png")
    assert first == hash_of(tmp_path / "b" / "x.png") == hash_of(str(tmp_path / "b" / "x.png"))
    (tmp_path / "b" / "x.png").write_bytes(b"12345")
    assert first != hash_of(tmp_path / "b" / "x.png")
    assert hash_of("missing.png") != hash_of("other.png")
    assert hash_of("x" * 5000) != hash_of("nul\0.png")


def test_a_hub_image_counts_by_its_bytes_whatever_cache_it_came_from() -> None:
    assert hash_of({"bytes": b"1", "path": "/cache/1.png"}) == hash_of({"bytes": b"1", "path": None}) == hash_of(b"1")
    assert hash_of({"bytes": None, "path": "a.png"}) == hash_of("a.png")


def test_a_base64_image_counts_by_all_its_text() -> None:
    """Taken for a path, it would count by what comes after its last slash, which many images share."""
    stored = [base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes([n]) * 90 + b"\xff" * 90).decode() for n in (1, 2)]
    assert stored[0].rpartition("/")[2] == stored[1].rpartition("/")[2]
    assert hash_of(stored[0]) != hash_of(stored[1])
    assert hash_of(f"data:image/png;base64,{stored[0]}") != hash_of(f"data:image/png;base64,{stored[1]}")


def test_any_kind_of_bytes_counts_by_content() -> None:
    assert hash_of(b"1") == hash_of(bytearray(b"1")) == hash_of(memoryview(b"1")) != hash_of(memoryview(b"2"))


def test_further_images_count_as_the_first_one_does(tmp_path: Path) -> None:
    def with_more(*more: Any) -> str:
        return fingerprint([dataclasses.replace(SAMPLE, more_images=more)])

    (tmp_path / "x.png").write_bytes(b"1234")
    assert with_more(str(tmp_path / "x.png")) == with_more(tmp_path / "x.png") != with_more("x.png")
    assert len({with_more(), with_more(b"1"), with_more(b"1", b"2"), with_more(b"2", b"1")}) == 4


def test_an_image_that_cannot_be_read_has_an_identity_too() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 400)).save(buffer, "PNG")
    assert len(hash_of(Image.open(io.BytesIO(buffer.getvalue()[:100])))) == 32


def test_a_pil_image_counts_by_its_pixels() -> None:
    assert hash_of(Image.new("RGB", (4, 4))) == hash_of(Image.new("RGB", (4, 4)))
    assert len({hash_of(Image.new("RGB", (4, 4), c)) for c in ("red", "blue")} | {hash_of(Image.new("L", (4, 4)))}) == 3


class Store:
    """Something whose repr shows where it lies in memory."""

    def get(self, n: int) -> Any:
        return n


def test_a_lazy_image_counts_by_its_function_and_arguments() -> None:
    assert hash_of(partial(Store.get, Store(), 3)) == hash_of(partial(Store.get, Store(), 3))
    assert hash_of(partial(Store.get, Store(), 3)) != hash_of(partial(Store.get, Store(), 4))
    assert hash_of(partial(Image.open, Path("a/x.png"))) == hash_of(partial(Image.open, Path("b/x.png")))
    assert hash_of(partial(max, {"b": 1}, key=None)) != hash_of(partial(min, {"b": 1}, key=None))
    assert hash_of(partial(max, np.arange(3))) != hash_of(partial(max, np.arange(4)))


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    code = (
        "from functools import partial\n"
        "from gapbench.data import catalogue\n"
        "from gapbench.data.benchmark import fingerprint\n"
        "from gapbench.types import Sample\n"
        "lazy = partial(sorted, {'red', 'blue', 'green', 'yellow'}, key={'b': {1, 2}, 'a': object()})\n"
        "samples = [*catalogue.load('signs').samples(50), Sample('x', lazy, 'What?', ('y',))]\n"
        "print(fingerprint(samples))"
    )
    fingerprints = set()
    for seed in ("0", "1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        fingerprints.add(done.stdout.strip())
    assert len(fingerprints) == 1
    assert len(fingerprints.pop()) == 32
