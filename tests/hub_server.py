"""A small Hugging Face Hub on loopback: as much of its API as `huggingface_hub` needs to fetch a data set.

    with Hub({"me/data": {"data/a.parquet": b"..."}}) as hub:
        subprocess.run([...], env={**os.environ, **hub.environment(tmp_path)})
    hub.asked                       # what was asked for, in order

Limits: one commit per data set, plain HTTP downloads (no Xet), no pages in listings.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """`repos` maps a data set's id to its files. What a test may change while it runs:

    `claims`: sizes in bytes that listings give, by file name; `status`: an HTTP status for every request, with `code`,
    the Hub's name of the error; `forbidden`: files that answer 403; `cut`: how many more downloads break after half of
    what was asked for.
    """

    def __init__(self, repos: Mapping[str, Mapping[str, bytes]], commit: str | Mapping[str, str] = COMMIT) -> None:
        self.repos = {name: dict(files) for name, files in repos.items()}
        self.commits = {name: commit if isinstance(commit, str) else commit[name] for name in self.repos}
        self.claims: dict[str, int] = {}
        self.status = 0
        self.code = ""
        self.forbidden: set[str] = set()
        self.cut = 0
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """What makes a process use this Hub alone, with an empty cache under `home`."""
        return {
            "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*", "no_proxy": "*", "HF_TOKEN": "",
        }  # fmt: skip

    def downloads(self) -> list[str]:
        """The files whose content was asked for, once each, in order."""
        names = [line.split("/", 1)[1] for line in self.asked if line.startswith("GET/")]
        return list(dict.fromkeys(names))


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.hub.status:
            return self._refuse(self.hub.status, self.hub.code)
        for pattern, answer in (
            (r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._info),
            (r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)(?:/(.+))?", self._tree),
            (r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
        ):
            if found := re.fullmatch(pattern, path):
                repo, revision, *rest = found.groups()
                if repo not in self.hub.repos:
                    return self._refuse(404, "RepoNotFound")
                if revision not in (None, "main", self.hub.commits[repo]):
                    return self._refuse(404, "RevisionNotFound")
                return answer(repo, *rest)
        return self._refuse(404, "")

    def _info(self, repo: str) -> None:
        self.hub.asked.append(f"info {repo}")
        siblings = [{"rfilename": name, "size": self._size(repo, name)} for name in self.hub.repos[repo]]
        self._json({"id": repo, "sha": self.hub.commits[repo], "private": False, "gated": False, "disabled": False,
                    "downloads": 0, "likes": 0, "tags": [], "siblings": siblings})  # fmt: skip

    def _tree(self, repo: str, folder: str | None = None) -> None:
        self.hub.asked.append(f"tree {repo}")
        start = f"{folder}/" if folder else ""
        inside = {name: data for name, data in self.hub.repos[repo].items() if name.startswith(start)}
        if folder and not inside:
            return self._refuse(404, "EntryNotFound")
        deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        folders = {start + name[len(start) :].split("/")[0] for name in inside if "/" in name[len(start) :]}
        self._json([
            *({"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders) if not deep),
            *({"type": "file", "path": name, "size": self._size(repo, name), "oid": _etag(data)}
              for name, data in inside.items() if deep or "/" not in name[len(start) :]),
        ])  # fmt: skip

    def _file(self, repo: str, name: str) -> None:
        data = self.hub.repos[repo].get(name)
        if data is None:
            return self._refuse(404, "EntryNotFound")
        if name in self.hub.forbidden:
            return self._refuse(403, "")
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        self.hub.asked.append(f"{self.command}/{name}" + (f" from {start}" if start else ""))
        body = data[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_etag(data)}"')
        self.send_header("X-Repo-Commit", self.hub.commits[repo])
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "GET":
            if self.hub.cut > 0:
                self.hub.cut -= 1
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            else:
                self.wfile.write(body)

    def _size(self, repo: str, name: str) -> int:
        return self.hub.claims.get(name, len(self.hub.repos[repo][name]))

    def _refuse(self, status: int, code: str) -> None:
        self.hub.asked.append(f"refused {status} {code}".strip())
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()  # noqa: S324
