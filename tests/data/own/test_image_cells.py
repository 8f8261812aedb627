"""Images at addresses are fetched only if the user allows it, when they are needed, and only over http and https."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from gapbench.data.benchmark import fingerprint
from gapbench.data.catalogue import load
from gapbench.data.own.image_cells import fetch
from gapbench.errors import BenchmarkError, SampleError
from gapbench.views.images import decode

BUFFER = io.BytesIO()
Image.new("RGB", (40, 30), "red").save(BUFFER, "PNG")
PNG = BUFFER.getvalue()


class Server(BaseHTTPRequestHandler):
    """Answers by path: an image, a redirection to what the query says, an error, or very slowly."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        path, _, query = self.path.partition("?")
        status = {"/image.png": 200, "/slow": 200, "/endless": 200, "/to": 302, "/broken": 200}.get(path, 404)
        self.send_response(status)
        if path == "/to":
            self.send_header("Location", query)
        if path in ("/image.png", "/broken"):
            self.send_header("Content-Length", str(len(PNG) + 9 * (path == "/broken")))
        self.end_headers()
        try:
            if path in ("/image.png", "/broken"):
                self.wfile.write(PNG)
            for _ in range(50 if path in ("/slow", "/endless") else 0):
                self.wfile.write(b"x" * (1 if path == "/slow" else 100_000))
                time.sleep(0.05 if path == "/slow" else 0)
        except OSError:  # nobody listens any more
            pass

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    Server.requests = []
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{http_server.server_address[1]}"
    http_server.shutdown()
    http_server.server_close()


def mine(folder: Path, **columns: Any) -> str:
    path = folder / "mine.jsonl"
    path.write_text(json.dumps({"image": "a.png", "question": "What?", "answer": "x", **columns}) + "\n")
    return str(path)


def test_an_address_is_fetched_when_the_image_is_looked_at(server: str, tmp_path: Path) -> None:
    (sample,) = load(f"{mine(tmp_path, image=f'{server}/image.png')}:urls=true").samples()
    assert Server.requests == []
    assert decode(sample.image)[0].size == (40, 30)
    assert Server.requests == ["/image.png"]
    assert sample.cluster == f"{server}/image.png"
    others = load(f"{mine(tmp_path, image=f'{server}/other.png')}:urls=true").samples()
    assert fingerprint([sample]) != fingerprint(others)


@pytest.mark.parametrize("held", [str, lambda url: {"bytes": None, "path": url}, lambda url: [url]])
def test_an_address_is_refused_unless_asked_for(tmp_path: Path, held: Any) -> None:
    with pytest.raises(BenchmarkError, match=r"line 1: column 'image': found https://.*not fetched\..*:urls=true"):
        load(mine(tmp_path, image=held("https://example.org/a.png"))).samples()


@pytest.mark.parametrize(
    "url", ["file:///etc/hosts", "ftp://example.org/a.png", "s3://bucket/a.png", "FILE:/etc/hosts"]
)
def test_only_http_and_https_are_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(BenchmarkError, match="only http and https are fetched"):
        load(f"{mine(tmp_path, image=url)}:urls=true").samples()


def test_a_redirection_is_followed_over_http_alone(server: str, tmp_path: Path) -> None:
    assert fetch(f"{server}/to?{server}/image.png") == PNG
    (tmp_path / "secret.png").write_bytes(PNG)
    for target in (f"file://{tmp_path}/secret.png", "ftp://127.0.0.1/a.png", "data:image/png;base64,AAAA"):
        with pytest.raises(SampleError, match="cannot be fetched"):
            fetch(f"{server}/to?{target}")
    with pytest.raises(SampleError, match="cannot be fetched"):
        fetch(f"{server}/to?{server}/to")


@pytest.mark.parametrize(
    ("get", "says"),
    [
        (lambda s: fetch(f"{s}/nothing"), r"/nothing: cannot be fetched \(Not Found\)"),
        (lambda s: fetch("http://127.0.0.1:1/a.png"), "cannot be fetched .*refused"),
        (lambda s: fetch("http://"), "cannot be fetched"),
        (lambda s: fetch("http://[::1/a"), "cannot be fetched"),
        (lambda s: fetch("http://exa mple/a\n"), "cannot be fetched"),
        (lambda s: fetch(f"{s}/broken"), "cannot be fetched"),
        (lambda s: fetch(f"{s}/slow", seconds=0.3), "not done after 0.3 seconds"),
        (lambda s: fetch(f"{s}/endless", largest=200_000), "larger than 200,000 bytes"),
    ],
)
def test_what_cannot_be_fetched_is_the_sample_s_error(server: str, get: Any, says: str) -> None:
    with pytest.raises(SampleError, match=says):
        get(server)


SIGNED = "https://me:hunter2@example.org:1/a.png?id=7&X-Amz-Credential=AKIA&X-Amz-Signature=0f0f&long=0123456789abcdef"


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        (SIGNED, False),
        (SIGNED.replace("https", "ftp"), True),
        (SIGNED, True),
        (SIGNED.replace("me:hunter2@", ""), True),
        ("http://me:hunter2\u2100@example.org/", True),  # the library quotes a part of the address
        ("http://127.0.0.1:1/ ?token=hunter2", True),
        ("x" * 190 + "://hunter2:hunter2@example.org/", False),  # cut off before the @
    ],
)
def test_no_error_and_no_cluster_holds_a_credential(tmp_path: Path, url: str, urls: bool) -> None:
    try:
        (sample,) = load(f"{mine(tmp_path, image=url)}:urls={str(urls).lower()}").samples()
        said = f"{sample.cluster} "
        decode(sample.image)
    except (BenchmarkError, SampleError) as error:
        said = f"{locals().get('said', '')}{error}"
    assert "example.org" in said or "127.0.0.1" in said or "xxx" in said
    for secret in ("hunter2", "AKIA", "0f0f", "0123456789abcdef"):
        assert secret not in said


def test_samples_stay_one_cluster_only_if_their_address_is_the_same(tmp_path: Path) -> None:
    def cluster(url: str) -> str:
        return load(f"{mine(tmp_path, image=url)}:urls=true").samples()[0].cluster

    first, other = "https://h/i?token=0123456789abcdef1", "https://h/i?token=0123456789abcdef2"
    assert cluster(first) == cluster(first) != cluster(other)
    assert cluster("https://h/i.png?id=7") == "https://h/i.png?id=7", "without a credential it is as before"


def test_the_user_s_own_files_may_name_any_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "data").mkdir()
    for path in (str(tmp_path / "a.png"), "../a.png"):
        (sample,) = load(mine(tmp_path / "data", image=path)).samples()
        assert decode(sample.image)[0].size == (40, 30)
