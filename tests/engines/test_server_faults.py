"""The server engine through a proxy that breaks things: a run ends complete, and no fault becomes an answer."""

from __future__ import annotations

import json
import random
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from engines.fault_proxy import FAULTS, POISON, FaultProxy
from engines.loads import server
from engines.stub_server import HttpRequest, Response, Stub, chat, error
from gapbench.engines.server import retries
from gapbench.errors import ModelError
from gapbench.types import Answer, Request


def requests(count: int) -> Iterator[Request]:
    return (Request(i, (), f"question {i}") for i in range(count))


def engine(*urls: str, **settings: Any) -> server.ServerEngine:
    return server.load("stub", base_urls=urls, **{"backoff": 0.05, "timeout": 0.5, **settings})


def check_complete(answers: list[tuple[Any, Answer]], count: int) -> None:
    assert sorted(k for k, _ in answers) == list(range(count))
    for key, answer in answers:
        assert answer.text == ("" if answer.error else f"echo: question {key}")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_survived(fault: str) -> None:
    with Stub() as stub, FaultProxy(stub, lambda number: fault if number % 4 == 1 else "") as proxy:
        client = engine(proxy.url, concurrency=8, timeout=0.5 if fault in {"never", "slow loris"} else 30)
        answers = list(client.generate(requests(40)))

    check_complete(answers, 40)
    assert not any(answer.error for _, answer in answers)
    assert proxy.done[fault] == client.client.faults.total() > 10
    assert len(stub.requests) == len(stub.counts) == 40


def test_a_server_that_stays_silent_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would tell it from one that is at work."""
    monkeypatch.setattr(retries, "SILENCE", 0.2)
    with Stub() as stub, FaultProxy(stub, lambda number: "never" if number < 4 else "") as proxy:
        client = engine(proxy.url, concurrency=1)
        with pytest.warns(
            UserWarning, match=r"no answer in 0 s.* is tried 8 times and may take 0\.5 s \(--timeout\)"
        ) as caught:
            answers = list(client.generate(requests(4)))
        assert [warning.category for warning in caught].count(UserWarning) == 1
        check_complete(answers, 4)
        with warnings.catch_warnings(action="error"):  # it has answered before: it is only slow
            check_complete(list(client.generate(requests(4))), 4)


def test_a_server_that_never_answers_ends_the_run_soon() -> None:
    with Stub() as stub, FaultProxy(stub, lambda number: "never") as proxy:
        client = engine(proxy.url, timeout=0.2)
        with pytest.raises(ModelError, match=r"no answer within 0\.2 s, 16 times from the first on\..*--timeout"):
            list(client.generate(requests(100)))
        assert client.client.tries < 64


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"never", "slow loris"}))
def test_a_fault_that_stays_is_a_failure_and_never_an_answer(fault: str) -> None:
    """Even numbered questions always meet it; the others are answered."""

    def broken(request: HttpRequest, number: int) -> Response:
        return FAULTS[fault] if int(request.prompt.split()[-1]) % 2 else chat(f"echo: {request.prompt}")

    with Stub(broken) as stub:
        client = engine(stub.url, concurrency=4, tries=3, backoff=0.01)
        answers = list(client.generate(requests(20)))

    check_complete(answers, 20)
    assert [k for k, a in answers if a.error] == [k for k, _ in answers if k % 2]
    assert all("3 tries" in a.error for _, a in answers if a.error)
    assert client.client.answered == 10
    assert client.client.faults.total() == 30


def test_all_faults_at_once() -> None:
    draw = random.Random(5)
    kinds = [*FAULTS, "late", "lost answer", *[""] * 50]
    with Stub(delay=0.01) as stub, FaultProxy(stub, lambda number: draw.choice(kinds)) as proxy:
        client = engine(proxy.url)
        answers = list(client.generate(requests(250)))

    check_complete(answers, 250)
    assert not any(a.error for _, a in answers), "eight tries are enough for one fault in four"
    assert not any(POISON in a.text for _, a in answers)
    assert set(proxy.done) == set(kinds)
    assert client.client.tries == 250 + client.client.faults.total()
    again = proxy.done["lost answer"]
    assert len(stub.requests) == 250 + again, "nothing is asked twice but what was lost on its way back"


def test_what_was_met_can_be_kept_with_the_run() -> None:
    faults = [error(500, "hm"), error(429, "slow down"), error(500, "hm")]
    with Stub(
        lambda request, number: faults[number] if number < 3 else chat(f"echo: {request.prompt}"), delay=0.02
    ) as stub:
        client = engine(stub.url, concurrency=4, timeout=5)
        assert client.trouble == {"tries": 0, "faults": {}, "most_at_once": 0}
        list(client.generate(requests(20)))
        list(engine(stub.url, concurrency=4).generate(requests(1)))

    assert client.trouble == {"tries": 23, "faults": {"HTTP 429": 1, "HTTP 500": 2}, "most_at_once": stub.most}
    assert json.loads(json.dumps(client.trouble)) == client.trouble


def test_the_most_at_once_is_what_was_and_not_what_might_have_been() -> None:
    with Stub(delay=0.2) as stub:
        client = engine(stub.url, concurrency=64, timeout=5)
        list(client.generate(requests(3)))

    assert client.trouble["most_at_once"] == stub.most == 3


def test_a_pause_before_the_next_try_is_no_waiting_for_images() -> None:
    """Text alone, so that nothing has to be made ready."""
    met: Counter[str] = Counter()

    def reply(request: HttpRequest, number: int) -> Response:
        met[request.prompt] += 1
        return error(500, "hm") if met[request.prompt] < 4 else chat("fine")

    with Stub(reply) as stub:
        client = engine(stub.url, concurrency=4, backoff=0.2, timeout=5)
        started = time.perf_counter()
        list(client.generate(requests(60)))
        took = time.perf_counter() - started

    assert took > 1
    assert client.waited < 0.2 * took


def test_retry_after_is_honoured() -> None:
    times: list[float] = []

    def reply(request: HttpRequest, number: int) -> Response:
        times.append(time.monotonic())
        return error(429, "slow down", **{"Retry-After": "1"}) if number == 0 else chat("fine")

    with Stub(reply) as stub:
        assert dict(engine(stub.url, concurrency=1, timeout=5).generate(requests(3)))[0].text == "fine"

    assert times[1] - times[0] >= 1, "nor is another question sent meanwhile"


def test_retry_after_may_be_a_date() -> None:
    from email.utils import formatdate

    from gapbench.engines.server.responses import Fault, read

    fault = read(503, {"retry-after": formatdate(time.time() + 30, usegmt=True)}, b"")

    assert isinstance(fault, Fault)
    assert 27 < fault.wait <= 30


def test_a_server_that_asks_for_an_hour_ends_the_run() -> None:
    hour = error(429, "quota", **{"Retry-After": "3600"})
    with Stub(lambda request, number: hour) as stub, pytest.raises(ModelError, match=r"quota \(.* wait 3,600 s\)"):
        list(engine(stub.url).generate(requests(50)))


def test_while_one_of_two_servers_rests_the_other_works() -> None:
    busy = error(429, "slow down", **{"Retry-After": "30"})
    with Stub(lambda request, number: busy) as one, Stub() as two:
        started = time.monotonic()
        answers = list(engine(one.url, two.url, timeout=5).generate(requests(100)))

    check_complete(answers, 100)
    assert time.monotonic() - started < 10
    assert len(one.requests) < 40


def test_servers_share_the_work_by_what_they_have_in_flight() -> None:
    with Stub(delay=0.02) as fast, Stub(delay=0.2) as slow:
        answers = list(engine(fast.url, slow.url, concurrency=8, timeout=5).generate(requests(200)))

    check_complete(answers, 200)
    assert len(fast.requests) > 2 * len(slow.requests) > 0


def test_a_server_that_dies_is_left_out_and_taken_back_when_it_returns() -> None:
    with Stub(delay=0.01) as steady:
        first = Stub(delay=0.01)
        first.__enter__()
        answers = []
        client = engine(first.url, steady.url, concurrency=4, timeout=5)
        for answer in client.generate(requests(600)):
            answers.append(answer)
            if len(answers) == 50:
                first.__exit__()
                port, died = first.port, len(steady.requests)
            if len(answers) == 150:
                second = Stub(delay=0.01, port=port)
                second.__enter__()
        second.__exit__()

    check_complete(answers, 600)
    assert not any(a.error for _, a in answers)
    assert len(steady.requests) > died + 80
    assert len(second.requests) > 50


def test_a_server_that_keeps_failing_is_left_out_and_taken_back_when_it_recovers() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        return error(500, "hm") if number < 9 else chat(f"echo: {request.prompt}")

    with Stub(reply, delay=0.01) as failing, Stub(delay=0.01) as steady:
        client = engine(failing.url, steady.url, concurrency=2, timeout=5)
        answers = []
        for answer in client.generate(requests(4000)):
            answers.append(answer)
            if len(answers) == 60:
                while_failing = len(failing.requests)
            if len(failing.requests) > 40:
                break

    assert while_failing < 10, "after eight errors it gets one request at a time, after a pause"
    assert len(failing.requests) > 40
    assert not any(a.error for _, a in answers)


def test_the_only_server_is_waited_for_and_nothing_is_lost() -> None:
    first = Stub(delay=0.01)
    first.__enter__()
    back: list[Stub] = []

    def restart() -> None:
        back.append(Stub(delay=0.01, port=first.port).__enter__())

    answers = []
    for answer in engine(first.url, timeout=5, tries=3).generate(requests(300)):
        answers.append(answer)
        if len(answers) == 100:
            first.__exit__()
            threading.Timer(1.5, restart).start()
    back[0].__exit__()

    check_complete(answers, 300)
    assert not any(a.error for _, a in answers)


def test_a_server_that_stays_away_ends_the_run_and_what_it_owes_is_not_recorded() -> None:
    stub = Stub(delay=0.01)
    stub.__enter__()
    answers = []

    def run() -> None:
        for answer in engine(stub.url, concurrency=8, patience=1, tries=3).generate(requests(300)):
            answers.append(answer)
            if len(answers) == 100:
                stub.__exit__()

    with pytest.raises(ModelError, match=r"No server was reached for .*not reached.*the same command continues"):
        run()

    assert 100 <= len(answers) <= 110
    assert not any(a.error for _, a in answers)


def test_a_server_that_only_ever_fails_ends_the_run() -> None:
    broken = error(500, "CUDA error")
    with Stub(lambda request, number: broken) as stub, pytest.raises(ModelError, match="CUDA error") as caught:
        list(engine(stub.url, tries=3).generate(requests(300)))

    assert stub.url in str(caught.value)
    assert len(stub.requests) < 200


def test_a_server_that_fails_for_good_in_mid_run_ends_it() -> None:
    with Stub(
        lambda request, number: chat(f"echo: {request.prompt}") if number < 40 else error(500, "CUDA error")
    ) as stub:
        answers: list[tuple[Any, Answer]] = []
        with pytest.raises(ModelError, match=r"the last 16 requests all failed.*CUDA error"):
            answers.extend(engine(stub.url, concurrency=2, tries=2, backoff=0.01).generate(requests(300)))


def test_one_poisonous_question_does_not_take_the_others_with_it() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        return error(500, "crashed") if request.prompt == "question 7" else chat(f"echo: {request.prompt}")

    with Stub(reply) as stub:
        answers = list(engine(stub.url, timeout=5, tries=4).generate(requests(100)))

    check_complete(answers, 100)
    assert [k for k, a in answers if a.error] == [7]


def test_too_much_at_once_is_answered_by_asking_less() -> None:
    def reply(request: HttpRequest, number: int) -> Response:
        if stub.in_flight > 6:
            return error(429, "too many at once")
        return chat(f"echo: {request.prompt}")

    with Stub(reply, delay=0.02) as stub:
        client = engine(stub.url, timeout=5)
        answers = list(client.generate(requests(400)))

    check_complete(answers, 400)
    assert not any(a.error for _, a in answers)
    assert client.client.limit.now < 16
    assert client.client.faults["HTTP 429"] < 100


def test_a_single_error_does_not_halve_what_is_in_flight() -> None:
    with Stub(lambda request, n: error(500, "hm") if n == 30 else chat(f"echo: {request.prompt}"), delay=0.01) as stub:
        client = engine(stub.url, timeout=5)
        list(client.generate(requests(100)))

    assert client.client.limit.now >= 16
