"""Several base URLs as one server: the least busy one is asked, and one that dies is left out and tried again later.

    endpoint = await endpoints.take()
    endpoints.give_back(endpoint, fault)        # None: it answered

A server that cannot be reached is left out at once, and one that answers nothing but errors after `STREAK` of them, if
there is another; one request at a time tries it again, after 1 to 30 seconds. A request that waits for a server has not
failed. Where none was reached for `patience` seconds, or all refuse us, the run ends with an error: what is unanswered
then is asked when the run is continued.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gapbench.engines.server.responses import Fault, Then
from gapbench.errors import ModelError, SettingError

STREAK = 8
"""Errors in a row after which a server is left out."""
FIRST_PATIENCE = 30.0
"""Seconds without a server after which a run ends that never had an answer."""


@dataclass
class Endpoint:
    """One base URL, up to and without `/chat/completions`, and how it is doing. Times are those of `time.monotonic`."""

    url: str
    in_flight: int = 0
    sent: int = 0
    streak: int = 0
    rest_until: float = 0.0
    out: int = 0
    out_until: float = 0.0
    trial: bool = False
    trouble: Fault | None = None

    def usable(self, now: float) -> bool:
        """Whether it is well, or due for a trial."""
        return now >= self.rest_until and (not self.out or (now >= self.out_until and not self.trial))

    def sick(self, now: float) -> bool:
        """Whether it is there, but answers with errors: better than none, for what fails may be the question."""
        return now >= self.rest_until and self.trouble is not None and self.trouble.then is Then.RETRY


class Endpoints:
    """See the module. For use within one event loop."""

    def __init__(self, urls: Sequence[str], patience: float) -> None:
        self.all = [Endpoint(url) for url in urls]
        self.answered = False
        self._patience = patience
        self._silent_since: float | None = None

    async def take(self) -> Endpoint:
        """The least busy endpoint, as soon as there is one. Raises ModelError when there is no hope of one."""
        while True:
            now = time.monotonic()
            usable = [e for e in self.all if e.usable(now)] or [e for e in self.all if e.sick(now)]
            if usable:
                endpoint = min(usable, key=lambda e: (not e.out, e.in_flight, e.sent))  # trials that are due come first
                endpoint.trial = endpoint.out > 0
                endpoint.in_flight += 1
                endpoint.sent += 1
                return endpoint
            self._look_for_hope(now)
            await asyncio.sleep(random.uniform(0.02, 0.2))

    def give_back(self, endpoint: Endpoint, fault: Fault | None) -> None:
        """Say how it went; a request that the server rightly turned down (`GIVE_UP`) is None too."""
        endpoint.in_flight -= 1
        endpoint.trial = False
        now = time.monotonic()
        if fault is None:
            endpoint.streak = endpoint.out = 0
            self._silent_since = None
            return
        endpoint.trouble = fault
        endpoint.rest_until = max(endpoint.rest_until, now + fault.wait)
        if fault.then is Then.RETRY:
            self._silent_since = None
            endpoint.streak += fault.kind != "HTTP 429"  # which says that it is well, and busy
            if endpoint.streak < STREAK:
                return
        if now >= endpoint.out_until:
            endpoint.out += 1
            endpoint.out_until = now + random.uniform(0.5, 1) * min(30, 2 ** (endpoint.out - 1))
        if self._silent_since is None and all(e.out and not e.sick(now) for e in self.all):
            self._silent_since = now

    def _look_for_hope(self, now: float) -> None:
        if all(e.out and e.trouble and e.trouble.then is Then.REFUSED for e in self.all):
            raise ModelError(
                f"{self._troubles()}. Check --base-url, the model's name and the key (--api-key-env); what was "
                "answered is kept, and the same command asks the rest."
            )
        patience = self._patience if self.answered else min(self._patience, FIRST_PATIENCE)
        if self._silent_since is not None and now - self._silent_since > patience:
            raise ModelError(
                f"No server was reached for {now - self._silent_since:.0f} s: {self._troubles()}. Start it again; "
                "what was answered is kept, and the same command asks the rest."
            )

    def _troubles(self) -> str:
        return "; ".join(f"{e.url}: {e.trouble.message.rstrip('.')}" for e in self.all if e.trouble)


def base_url(given: str) -> str:
    """The URL that `/chat/completions` follows: `/v1` is added where no part of the path is a version.

    Raises SettingError for what is no http(s) URL, or holds a password or query: both would be kept in `run.json`.
    """
    try:
        parts = urlsplit(given.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port is not None and not parts.port):
            raise ValueError
    except ValueError as error:
        raise SettingError("--base-url: expected http(s)://host:port/v1, as in http://localhost:8000/v1.") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise SettingError(
            f"--base-url …{parts.hostname}…: it holds a user, a query or a fragment, and URLs are recorded. Pass "
            "the URL without, and a key in an environment variable (--api-key-env NAME)."
        )
    path = re.sub(r"/chat/completions$", "", parts.path.rstrip("/"))
    if not re.search(r"/v\d+[a-z0-9]*(/|$)", path):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
