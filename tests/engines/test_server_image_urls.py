"""What the server engine sends: the images of each question, in order, as they are stored where that is possible."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engines.loads import server
from engines.stub_server import Stub, chat
from gapbench.engines.server import pipeline
from gapbench.engines.server.image_urls import encode_request, escape_control_tokens
from gapbench.types import Request


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def stored(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def decoded(url: str) -> tuple[str, bytes, Image.Image]:
    head, _, encoded = url.partition(",")
    data = base64.b64decode(encoded, validate=True)
    return head, data, Image.open(io.BytesIO(data))


def sent(request: Request) -> list[str]:
    content = json.loads(encode_request(request).messages)[0]["content"]
    return [part["image_url"]["url"] for part in content[:-1]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_stored_bytes_are_sent_as_they_are(kind: str) -> None:
    data = stored(photograph(90, 60), kind)
    image = Image.open(io.BytesIO(data)).convert("RGB")

    head, data_sent, _ = decoded(sent(Request(0, (image,), "?", encoded=(data,)))[0])

    assert head == f"data:image/{kind.lower()};base64"
    assert data_sent == data


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["RGB", "L"]), st.integers(0, 3))
def test_other_images_are_sent_without_loss(width: int, height: int, mode: str, seed: int) -> None:
    image = photograph(width, height, seed).convert(mode)

    head, data_sent, decoded_image = decoded(sent(Request(0, (image,), "?"))[0])

    assert head == "data:image/png;base64"
    decoded_image.verify()  # checksums
    assert Image.open(io.BytesIO(data_sent)).convert("RGB").tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("data", [None, b"GIF89a...", b"RIFF....AVI "])
def test_all_others_are_encoded_without_loss(data: bytes | None) -> None:
    image = photograph(90, 60)

    head, _, decoded_image = decoded(sent(Request(0, (image,), "?", encoded=(data,)))[0])

    assert head == "data:image/png;base64"
    assert decoded_image.tobytes() == image.tobytes()


def test_several_images_come_in_order_before_the_prompt() -> None:
    images = tuple(photograph(40 + i, 30, i) for i in range(3))
    with Stub() as stub:
        engine = server.load("stub", base_urls=[stub.url])
        answer = dict(
            engine.generate([Request("k", images, 'say "so"\n', encoded=(None, stored(images[1], "PNG"), None))])
        )["k"]

    content = stub.requests[0].json["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url"] * 3 + ["text"]
    assert [decoded(url)[2].tobytes() for url in stub.requests[0].urls] == [image.tobytes() for image in images]
    assert content[-1]["text"] == 'say "so"\n'
    assert (answer.images, answer.sent_size, answer.sent_pixels) == (3, (40, 30), (40 + 41 + 42) * 30)


def test_an_image_that_cannot_be_encoded_fails_alone() -> None:
    broken = Image.new("RGB", (5, 5))
    broken.close()
    broken.im = None  # type: ignore[assignment]  # as after close()
    with Stub() as stub:
        answers = dict(
            server.load("stub", base_urls=[stub.url]).generate(
                [Request(0, (broken,), "?"), Request(1, (photograph(9, 9),), "?")]
            )
        )

    assert "cannot be encoded" in answers[0].error
    assert answers[1].text == "echo: ?"


@given(st.text())
def test_any_prompt_arrives_as_it_is_but_for_control_tokens(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    messages = json.loads(encode_request(Request(0, (), text)).messages)

    assert messages == [{"role": "user", "content": escape_control_tokens(text)}]


def test_text_from_data_cannot_end_its_turn() -> None:
    assert escape_control_tokens("a <|im_end|> b <|image_pad|>") == "a < |im_end|> b < |image_pad|>"
    assert escape_control_tokens("<<|im_end|>") == "<< |im_end|>"
    assert escape_control_tokens("x <| y |> z, a <b> |c|") == "x <| y |> z, a <b> |c|"


def test_decoded_images_in_hand_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four encoded images are more than the bound, however many requests may be under way."""
    one = encode_request(Request(0, (photograph(100, 100),), "?")).held
    assert one > 3 * 100 * 100, "else it would be the decoded ones that are bounded here"
    monkeypatch.setattr(pipeline, "HELD_BYTES", 4 * one)
    pulled, lock = [0], threading.Lock()

    def endless() -> Iterator[Request]:
        while True:
            with lock:
                pulled[0] += 1
            yield Request(pulled[0], (photograph(100, 100),), "?")

    with Stub(lambda request, number: chat("x"), delay=0.01) as stub:
        answers = server.load("stub", base_urls=[stub.url], concurrency=64).generate(endless())
        for taken, _ in zip(range(1, 30), answers, strict=False):
            assert pulled[0] <= taken + 4 + 1
        time.sleep(0.3)
        assert pulled[0] <= 30 + 4 + 1
        answers.close()  # type: ignore[attr-defined]


def test_images_that_are_small_as_stored_do_not_keep_each_other_from_being_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two decoded ones fill the bound; what waits for an answer is their stored bytes."""
    image = Image.new("RGB", (600, 400))
    data = stored(image, "JPEG")
    monkeypatch.setattr(pipeline, "HELD_BYTES", 2 * 3 * 600 * 400)
    request_list = [Request(i, (image,), "?", encoded=(data,)) for i in range(48)]
    with Stub(delay=0.5) as stub:
        answers = dict(server.load("stub", base_urls=[stub.url], concurrency=32).generate(request_list))

    assert len(answers) == 48
    assert stub.most == 32


def test_an_image_is_let_go_of_once_it_is_encoded() -> None:
    """However long the next one is in coming."""
    gone, seen = threading.Event(), []

    def two() -> Iterator[Request]:
        image = photograph(60, 60)
        weakref.finalize(image, gone.set)
        yield Request(0, (image,), "?")
        del image
        seen.append(gone.wait(5))
        yield Request(1, (), "?")

    with Stub() as stub:
        assert len(dict(server.load("stub", base_urls=[stub.url]).generate(two()))) == 2

    assert seen == [True]


def test_an_image_larger_than_the_bound_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "HELD_BYTES", 300)
    with Stub() as stub:
        request_list = [Request(i, (photograph(60, 60),), "?") for i in range(5)]
        answers = dict(server.load("stub", base_urls=[stub.url]).generate(request_list))

    assert len(answers) == 5
    assert stub.most == 1
