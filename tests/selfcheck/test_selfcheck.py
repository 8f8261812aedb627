"""The self-check: sound engines pass, and the matching check catches each kind of faulty engine."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from engines.loads import transformers
from engines.test_transformers import ATTENTION
from helpers import write_benchmark
from PIL import Image
from tiny_models import FAMILIES

import gapbench
from gapbench.engines import transformers as engine_module
from gapbench.engines.transformers import TransformersEngine
from gapbench.errors import ModelError
from gapbench.selfcheck import Selfcheck, check_first, selfcheck
from gapbench.selfcheck.probes import COLOURS, LETTERS, SIZES, image, probes
from gapbench.types import Answer, Request
from gapbench.views.pixels import Pixels

NAMES = ("images arrive", "order of images", "visual tokens", "greedy is greedy", "thinking is off", "prompt")


def outcomes(result: Selfcheck) -> dict[str, str]:
    return {check.name: check.outcome for check in result.checks}


def failed(engine: Any) -> dict[str, str]:
    """Name to finding of the checks that failed."""
    return {check.name: check.found for check in selfcheck(engine).failed}


# --- sound engines -------------------------------------------------------------------------------------------

SLOW = ("phi4_multimodal", "kimi_k25")  # hundreds of tokens for each image


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=[pytest.mark.evidence] if f in SLOW else []) for f in FAMILIES]
)
def test_every_family_passes_what_applies_to_it(family: str, tiny: Callable[[str], Path]) -> None:
    engine = transformers.load(str(tiny(family)), max_new_tokens=6, attn_implementation=ATTENTION.get(family))
    result = selfcheck(engine)
    assert tuple(outcomes(result)) == NAMES
    assert not result.failed, result.checks
    applies = [name for name in NAMES if name != "order of images"]  # all images may be of one length
    assert all(outcomes(result)[name] == "passed" for name in applies), result.checks


def test_glance_passes_in_two_seconds_and_reads_what_is_shown() -> None:
    engine = transformers.load("glance")
    before = time.process_time()
    result = selfcheck(engine)
    seconds = time.process_time() - before  # a busy machine is slow and still does no more
    assert set(outcomes(result).values()) == {"passed"}, result.checks
    assert "5 of 6 colours and letters are named" in result.checks[0].found
    assert seconds < 2.0
    assert json.loads(json.dumps(result.json()))["checks"]["prompt"] == {
        "outcome": "passed",
        "found": "the ids of 4 prompts are ours",
        "expected": "the prompt that the model's own template makes",
    }


def test_the_probes_show_what_they_say() -> None:
    requests = probes(Pixels())
    assert len({requests[name].prompt for name in COLOURS} | {requests["none"].prompt}) == 1, (
        "answers could differ by wording"
    )
    assert len({requests[name].prompt for name in LETTERS}) == 1
    assert len({requests[name].images[0].tobytes() for name in {**COLOURS, **LETTERS}}) == 5, (
        "red H is asked about twice"
    )
    for name, size in SIZES.items():
        (image,), (stored,) = requests[name].images, requests[name].encoded
        assert image.size == size
        assert stored is not None
        assert Image.open(io.BytesIO(stored)).tobytes() == image.tobytes()


@pytest.fixture
def engine(tiny: Callable[[str], Path]) -> TransformersEngine:
    return transformers.load(str(tiny("qwen3_vl")), max_new_tokens=6)


def test_the_pixel_policy_and_processor_settings_are_no_rescaling(tiny: Callable[[str], Path]) -> None:
    for settings in (
        {"pixels": Pixels(max_pixels=20_000)},
        {"pixels": Pixels(min_pixels=40_000)},
        {"processor_kwargs": {"max_pixels": 12_544}},
    ):
        engine = transformers.load(str(tiny("qwen3_vl")), max_new_tokens=4, **settings)  # type: ignore[arg-type]
        assert not failed(engine)


def test_sampling_is_not_taken_for_a_fault(tiny: Callable[[str], Path]) -> None:
    result = selfcheck(transformers.load(str(tiny("qwen3_vl")), max_new_tokens=6, temperature=1.0))
    assert outcomes(result)["greedy is greedy"] == "not applicable"
    assert outcomes(result)["images arrive"] == "passed"
    assert not result.failed


# --- faulty engines ---------------------------------------------------------------------------------------


@dataclass
class Broken:
    """The real engine behind something that changes requests or answers on their way."""

    engine: TransformersEngine
    ask: Callable[[Request], Request] = lambda request: request
    answer: Callable[[Answer], Answer] = lambda answer: answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        for key, answer in self.engine.generate(map(self.ask, requests)):
            yield key, self.answer(answer)

    def prompt_ids(self, request: Request) -> Any:
        return self.engine.prompt_ids(self.ask(request))

    def next_logprobs(self, request: Request) -> Any:
        return self.engine.next_logprobs(self.ask(request))


@dataclass
class Silent(Broken):
    """The same behind a server, which reports the size before sending and the prompt's length, and no more."""

    lengths: bool = True

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        by_key = {request.key: request for request in requests}
        for key, answer in super().generate(by_key.values()):
            sent = by_key[key].images[0].size if by_key[key].images else None
            tokens = answer.prompt_tokens if self.lengths else None
            yield key, replace(answer, sent_size=sent, image_tokens=None, prompt_tokens=tokens)

    def prompt_ids(self, request: Request) -> Any:
        return None

    def next_logprobs(self, request: Request) -> Any:
        raise NotImplementedError("this server shows none")


def dropped(request: Request) -> Request:
    return replace(request, images=())


def second_dropped(request: Request) -> Request:
    return replace(request, images=request.images[:1])


def swapped(request: Request) -> Request:
    return replace(request, images=request.images[::-1])


def halved(request: Request) -> Request:
    return replace(request, images=tuple(i.resize((i.width // 2, i.height // 2)) for i in request.images))


def limited(request: Request) -> Request:
    """A server with its own limit: small images stay as they are."""
    return replace(request, images=tuple(Pixels(max_pixels=30_000).apply(image) for image in request.images))


def blackened(request: Request) -> Request:
    return replace(request, images=tuple(Image.new("RGB", image.size) for image in request.images))


def cut(request: Request) -> Request:
    return replace(request, prompt=request.prompt[:20])


def reworded(request: Request) -> Request:
    return replace(request, prompt="You are a helpful assistant. " + request.prompt)


def at_random(answer: Answer) -> Answer:
    return replace(answer, text=random.choice(("red", "blue", "H", "K")) + str(random.random()))


def aloud(answer: Answer) -> Answer:
    return replace(answer, thought="The sign looks red.")


def test_a_dropped_image_is_caught(engine: Any) -> None:
    faults = failed(Broken(engine, dropped))
    assert "the same for a red and for a blue image" in faults["images arrive"]
    assert "visual tokens" in faults
    faults = failed(Silent(engine, dropped))
    assert "tokens with an image and without one" in faults["images arrive"]


def test_an_image_that_arrives_as_something_else_is_caught(engine: Any) -> None:
    faults = failed(Broken(engine, blackened))
    assert list(faults) == ["images arrive"], "lengths and ids are right, so that only the content can tell"


def test_swapped_images_are_caught(engine: Any) -> None:
    faults = failed(Broken(engine, swapped))
    assert "the first of two images was sent as 320 x 192 px" in faults.pop("order of images")
    assert set(faults) <= {"prompt"}


def test_swapped_images_are_seen_in_the_ids_without_sizes(engine: Any) -> None:
    class Ids(Silent):
        prompt_ids = Broken.prompt_ids

    assert failed(Ids(engine, swapped))["order of images"] == "the prompt's ids show the second image first"


def test_a_dropped_second_image_is_caught(engine: Any) -> None:
    faults = failed(Broken(engine, second_dropped))
    assert "visual tokens for two images, as many as for one" in faults["order of images"]
    assert "images arrive" not in faults


def test_halved_images_are_caught_and_named(engine: Any) -> None:
    assert "1600 x 1200 px was sent as 800 x 600" in failed(Broken(engine, halved))["visual tokens"]
    faults = failed(Silent(engine, halved))
    assert list(faults) == ["visual tokens"]
    assert "visual tokens instead of" in faults["visual tokens"]


def test_a_limit_behind_our_back_is_caught_and_named(tiny: Callable[[str], Path]) -> None:
    engine = transformers.load(str(tiny("kimi_k25")), max_new_tokens=2)  # its own limit hardly matters
    faults = failed(Silent(engine, limited))
    assert list(faults) == ["visual tokens"]
    assert re.search(
        r"1600 x 1200 px takes \d+ visual tokens instead of \d+, as one of about (19|20|21)\d x 1\d\d px does: it is "
        "rescaled on its way", faults["visual tokens"]
    )  # fmt: skip


def test_a_cut_prompt_is_caught(engine: Any) -> None:
    assert list(failed(Broken(engine, cut))) == ["prompt"]
    assert "tokens of text, and we" in failed(Silent(engine, cut))["prompt"]


def test_a_prompt_with_words_of_its_own_is_caught(engine: Any) -> None:
    assert "differ from ours in text token" in failed(Broken(engine, reworded))["prompt"]
    faults = failed(Silent(engine, reworded))
    assert list(faults) == ["prompt"], "a longer prompt is not taken for larger images"


def test_random_answers_are_caught(engine: Any) -> None:
    assert list(failed(Broken(engine, answer=at_random))) == ["greedy is greedy"]


def test_answers_that_depend_on_the_batch_are_caught(engine: Any) -> None:
    class Together(Broken):
        def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
            answers = list(super().generate(requests))
            yield from ((key, replace(a, text=f"{a.text} of {len(answers)}")) for key, a in answers)

    assert "in a batch" in failed(Together(engine))["greedy is greedy"]


def test_thoughts_are_caught(engine: Any, tmp_path: Path) -> None:
    assert list(failed(Broken(engine, answer=aloud))) == ["thinking is off"]
    template = tmp_path / "thinking.jinja"
    own = engine.loaded.processor.chat_template
    template.write_text(own.replace("assistant\n", "assistant\n<think>\n"))
    thinking = transformers.load(engine.loaded.name, max_new_tokens=4, chat_template=template)
    assert failed(thinking) == {"thinking is off": "the prompt ends with the beginning of a thought"}


def test_thoughts_that_a_server_hides_are_caught(engine: Any) -> None:
    hidden = Silent(engine, answer=lambda answer: replace(answer, output_tokens=(answer.output_tokens or 0) + 200))
    assert "tokens are generated for an answer of" in failed(hidden)["thinking is off"]


def test_a_model_that_refuses_every_image_is_stopped_with_its_reason(engine: Any) -> None:
    def refuse(request: Request) -> Request:
        return replace(request, error="no image, please") if request.images else request

    answers: list[Answer] = []
    broken = Broken(engine, refuse, lambda answer: answers.append(answer) or answer)
    with pytest.raises(ModelError, match="every question with an image failed: no image, please"):
        check_first(broken, quiet=True)
    assert len(answers) == 1 + len(COLOURS) + len(LETTERS), "the first batch said enough"


# --- no false alarms ------------------------------------------------------------------------------------------


def test_undecided_checks_are_not_applicable(engine: Any) -> None:
    """A server that shows nothing, and a model that answers every image alike."""
    silent = Silent(engine, answer=lambda answer: replace(answer, text="I do not know."), lengths=False)
    result = selfcheck(silent)
    assert not result.failed
    assert [name for name, outcome in outcomes(result).items() if outcome == "not applicable"] == [
        "images arrive", "order of images", "visual tokens", "prompt",
    ]  # fmt: skip


def test_a_server_that_does_not_count_images_is_not_stopped(engine: Any) -> None:
    class Stingy(Silent):
        def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
            for key, answer in super().generate(requests):
                yield key, replace(answer, prompt_tokens=50)

    assert outcomes(selfcheck(Stingy(engine)))["images arrive"] == "passed", "its answers differ, so it sees"


def test_a_model_for_one_image_is_not_stopped(engine: Any) -> None:
    def refuse_two(request: Request) -> Request:
        return replace(request, error="only one image, please") if len(request.images) > 1 else request

    result = selfcheck(Broken(engine, refuse_two))
    assert not result.failed
    assert "only one image, please" in result.checks[1].found


def test_an_unavailable_processor_is_no_fault(engine: Any) -> None:
    class Remote(Silent):
        chat = processor = None
        info = {"engine": "server", "model": "known-to-the-server-alone"}  # noqa: RUF012

    result = selfcheck(Remote(engine))
    assert not result.failed
    assert outcomes(result)["visual tokens"] == outcomes(result)["prompt"] == "not applicable"
    assert outcomes(result)["images arrive"] == "passed"


def test_the_processor_is_found_by_the_models_name(engine: Any) -> None:
    class Remote(Silent):
        chat = processor = None

    faults = failed(Remote(engine, halved))
    assert "visual tokens instead of" in faults["visual tokens"]


class Reader:
    """A model that reads perfectly, as servers of real models do; it shows only its answers."""

    info = {"engine": "server", "model": "known-to-the-server-alone", "generation": {"temperature": 0}}  # noqa: RUF012

    def __init__(self, ask: Callable[[Request], Request] = lambda request: request, prefers: int | None = None) -> None:
        self.ask, self.prefers = ask, prefers
        combinations = {(c, letter, size) for c in COLOURS.values() for letter in "HKT" for size in
                 [(224, 224), (320, 192), *SIZES.values()]}  # fmt: skip
        self.contents = {image(*content).tobytes(): content for content in combinations}

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[Hashable, Answer]]:
        for request in map(self.ask, requests):
            if not request.images:
                yield request.key, Answer("I see no image.")
                continue
            number = self.prefers if self.prefers is not None else 1 if "second" in request.prompt else 0
            colour, letter, _ = self.contents[request.images[min(number, len(request.images) - 1)].tobytes()]
            yield request.key, Answer(f"The colour is {colour}." if "colour" in request.prompt else f"{letter}.")


def test_the_order_is_known_by_reading_alone() -> None:
    assert outcomes(selfcheck(Reader()))["order of images"] == "passed"
    assert "names the other one's letter" in failed(Reader(swapped))["order of images"]
    assert "6 of 6 colours and letters" in selfcheck(Reader()).checks[0].found


@pytest.mark.parametrize("prefers", [0, 1])
def test_a_model_that_always_looks_at_one_of_two_images_is_not_stopped(prefers: int) -> None:
    result = selfcheck(Reader(prefers=prefers))
    assert not result.failed
    assert outcomes(result)["order of images"] == "not applicable"


# --- through measure and the command line ---------------------------------------------------------------------


@pytest.fixture
def measure(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[..., gapbench.Run]:
    mine = write_benchmark(tmp_path / "data", questions=4)
    settings: dict[str, Any] = {"model": str(tiny("qwen3_vl")), "benchmarks": [str(mine)], "out": tmp_path / "run",
                                "max_new_tokens": 4}  # fmt: skip
    return lambda **changes: gapbench.measure(**{**settings, **changes})


def broken(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    load = engine_module.load
    monkeypatch.setattr(engine_module, "load", lambda *args: Broken(load(*args), **changes))


def test_a_run_keeps_the_checks_and_shows_them(measure: Callable[..., gapbench.Run]) -> None:
    run = measure()
    assert {check["outcome"] for check in run.manifest["selfcheck"]["checks"].values()} == {"passed"}
    for name in ("report.html", "report.md"):
        text = (run.path / name).read_text()
        assert "greedy is greedy.outcome" in text.replace("\\", "")
    assert len(run.frame()) == 8


def test_resume_checks_again_and_never_calls_it_a_difference(
    measure: Callable[..., gapbench.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure(limit=2)
    assert measure(limit=2).manifest["selfcheck"] == first.manifest["selfcheck"], "nothing was left to ask"
    assert measure(limit=3, selfcheck=False).manifest["selfcheck"] == first.manifest["selfcheck"]
    broken(monkeypatch, answer=aloud)
    again = measure(limit=4)
    assert again.manifest["selfcheck"]["checks"]["thinking is off"]["outcome"] == "failed"
    assert len(again.frame()) == 8


def test_a_failed_check_warns_and_is_in_the_report(
    measure: Callable[..., gapbench.Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(monkeypatch, answer=aloud)
    run = measure(quiet=False)
    assert "gapbench: warning: selfcheck: thinking is off: " in capsys.readouterr().err
    assert "self-check failed: thinking is off" in (run.path / "report.md").read_text().replace("\\", "")
    measure(quiet=True, out=run.path.parent / "quiet")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("change", "named"), [(dropped, "images arrive"), (swapped, "order of images")])
def test_images_that_do_not_arrive_or_not_in_order_stop_the_run(
    measure: Callable[..., gapbench.Run],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: Any,
    named: str,
) -> None:
    broken(monkeypatch, ask=change)
    with pytest.raises(ModelError, match=rf"selfcheck: {named}: .*--chat-template.*--no-selfcheck"):
        measure()
    assert not (tmp_path / "run").exists(), "nothing is written, so the same --out can be used with the remedy"
    run = measure(selfcheck=False)
    assert "selfcheck" not in run.manifest


@pytest.mark.slow
def test_a_template_that_forgets_the_image_ends_a_measurement_before_it_begins(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gapbench", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    own = transformers.load(str(tiny("qwen3_vl"))).loaded.processor.chat_template
    blind = tmp_path / "blind.jinja"  # a template that forgets the image
    blind.write_text(own.replace("{% if item.type == 'image' %}", "{% if item.type == 'image' and false %}"))
    mine = write_benchmark(tmp_path / "data", questions=2)
    out = tmp_path / "run"
    done = run("measure", tiny("qwen3_vl"), "-b", mine, "--out", out, "--chat-template", blind, "-q")
    assert done.returncode == 2
    assert "its chat template cannot write an image" in done.stderr
    assert not out.exists()
