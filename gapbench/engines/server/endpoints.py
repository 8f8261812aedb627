"""Several base URLs as one server: the endpoint with the least in flight gets the next request.

    endpoint = await endpoints.take()
    endpoints.release(endpoint, fault)          # None: it answered

An endpoint that cannot be reached is left out at once. One that returns only errors is left out after `STREAK` of them,
if there is another. After 1 to 30 seconds, a single trial request goes to it. A request that waits for an endpoint has
not failed. If no endpoint is reached for `patience` seconds, or if all refuse every request, the run ends with an
error; a continued run asks the samples without an answer.
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

from gapbench.engines.server.responses import Fault, Remedy
from gapbench.errors import ModelError, SettingError

STREAK = 8
"""Errors in a row after which an endpoint is left out."""
FIRST_PATIENCE = 30.0
"""Seconds without a reachable endpoint after which a run without any answer ends."""


@dataclass
class Endpoint:
    """One base URL, without `/chat/completions`, and its state. Times are those of `time.monotonic`.

    `streak` counts errors in a row. `exclusions` counts how often in a row it was left out; at 0 it is in use.
    `trial` is set while a trial request is in flight.
    """

    url: str
    in_flight: int = 0
    sent: int = 0
    streak: int = 0
    rest_until: float = 0.0
    exclusions: int = 0
    excluded_until: float = 0.0
    trial: bool = False
    last_fault: Fault | None = None

    def usable(self, now: float) -> bool:
        """Whether it is in use, or due for a trial."""
        return now >= self.rest_until and (not self.exclusions or (now >= self.excluded_until and not self.trial))

    def failing(self, now: float) -> bool:
        """Whether it is reachable but returns errors. It is still better than none: the requests may be at fault."""
        return now >= self.rest_until and self.last_fault is not None and self.last_fault.remedy is Remedy.RETRY


class Endpoints:
    """See the module. For use within one event loop."""

    def __init__(self, urls: Sequence[str], patience: float) -> None:
        self.all = [Endpoint(url) for url in urls]
        self.answered = False
        self._patience = patience
        self._unreachable_since: float | None = None

    async def take(self) -> Endpoint:
        """The usable endpoint with the least in flight. Waits for one, and raises ModelError once that is hopeless."""
        while True:
            now = time.monotonic()
            usable = [e for e in self.all if e.usable(now)] or [e for e in self.all if e.failing(now)]
            if usable:
                endpoint = min(usable, key=lambda e: (not e.exclusions, e.in_flight, e.sent))  # due trials first
                endpoint.trial = endpoint.exclusions > 0
                endpoint.in_flight += 1
                endpoint.sent += 1
                return endpoint
            self._raise_if_hopeless(now)
            await asyncio.sleep(random.uniform(0.02, 0.2))

    def release(self, endpoint: Endpoint, fault: Fault | None) -> None:
        """Report the end of a request. `fault` is None for an answer, and for a request at fault itself (`GIVE_UP`)."""
        endpoint.in_flight -= 1
        endpoint.trial = False
        now = time.monotonic()
        if fault is None:
            endpoint.streak = endpoint.exclusions = 0
            self._unreachable_since = None
            return
        endpoint.last_fault = fault
        endpoint.rest_until = max(endpoint.rest_until, now + fault.wait)
        if fault.remedy is Remedy.RETRY:
            self._unreachable_since = None
            endpoint.streak += fault.kind != "HTTP 429"  # a busy endpoint is not broken
            if endpoint.streak < STREAK:
                return
        if now >= endpoint.excluded_until:
            endpoint.exclusions += 1
            endpoint.excluded_until = now + random.uniform(0.5, 1) * min(30, 2 ** (endpoint.exclusions - 1))
        if self._unreachable_since is None and all(e.exclusions and not e.failing(now) for e in self.all):
            self._unreachable_since = now

    def _raise_if_hopeless(self, now: float) -> None:
        if all(e.exclusions and e.last_fault and e.last_fault.remedy is Remedy.REFUSED for e in self.all):
            raise ModelError(
                f"{self._fault_texts()}. Check --base-url, the model's name and the key (--api-key-env). Answers so "
                "far are kept; the same command continues."
            )
        patience = self._patience if self.answered else min(self._patience, FIRST_PATIENCE)
        if self._unreachable_since is not None and now - self._unreachable_since > patience:
            raise ModelError(
                f"No server was reached for {now - self._unreachable_since:.0f} s: {self._fault_texts()}. Start one. "
                "Answers so far are kept; the same command continues."
            )

    def _fault_texts(self) -> str:
        return "; ".join(f"{e.url}: {e.last_fault.message.rstrip('.')}" for e in self.all if e.last_fault)


def base_url(text: str) -> str:
    """The URL before `/chat/completions`. Adds `/v1` if no part of the path is a version.

    Raises SettingError if `text` is not an http(s) URL, or if it holds a user, password, query or fragment, because
    `run.json` records URLs.
    """
    try:
        parts = urlsplit(text.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port is not None and not parts.port):
            raise ValueError
    except ValueError as error:
        raise SettingError("--base-url: expected http(s)://host:port/v1, as in http://localhost:8000/v1.") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise SettingError(
            f"--base-url …{parts.hostname}…: it holds a user, a query or a fragment, but run.json records URLs. "
            "Leave them out, and pass a key in an environment variable (--api-key-env NAME)."
        )
    path = re.sub(r"/chat/completions$", "", parts.path.rstrip("/"))
    if not re.search(r"/v\d+[a-z0-9]*(/|$)", path):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_loopback(url: str) -> bool:
    """Whether a URL points to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
