"""Several base URLs as one server: the endpoint with the least in flight gets the next request.

    endpoint = await endpoints.take()
    endpoints.release(endpoint, reply)

An endpoint that cannot be reached is left out at once, and one that returns only errors after `STREAK` of them, if
there is another. After 1 to 30 seconds it gets one request at a time, until it answers. A request that waits for an
endpoint has not failed. If no endpoint is reached for `patience` seconds, or if all refuse every request, the run ends
with an error; a continued run asks the samples without an answer.
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
from gapbench.errors import KEPT, ModelError, SettingError
from gapbench.types import Answer

STREAK = 8
"""Errors in a row after which an endpoint is left out."""
FIRST_PATIENCE = 30.0
"""Seconds without a reachable endpoint after which a run without any answer ends."""


@dataclass
class Endpoint:
    """One base URL, without `/chat/completions`, and its state. Times are those of `time.monotonic`.

    `failures` counts faults in a row; from `STREAK` on it is left out until `out_until`. Until `rest_until` it asked to
    be left alone. `fault` is its last one.
    """

    url: str
    in_flight: int = 0
    failures: int = 0
    out_until: float = 0.0
    rest_until: float = 0.0
    fault: Fault | None = None


class Endpoints:
    """See the module. For use within one event loop."""

    def __init__(self, urls: Sequence[str], patience: float) -> None:
        self.all = [Endpoint(url) for url in urls]
        self._patience, self._patience_now = patience, min(patience, FIRST_PATIENCE)
        self._unreached_since: float | None = None

    async def take(self) -> Endpoint:
        """The usable endpoint with the least in flight. Waits for one, and raises ModelError once that is hopeless."""
        while True:
            now = time.monotonic()
            awake = [e for e in self.all if now >= e.rest_until]
            usable = [e for e in awake if e.failures < STREAK or (now >= e.out_until and not e.in_flight)]
            failing = [e for e in awake if e.fault and e.fault.remedy is Remedy.RETRY]  # the requests may be at fault
            if candidates := usable or failing:
                endpoint = min(candidates, key=lambda e: (e.in_flight, random.random()))
                endpoint.in_flight += 1
                return endpoint
            self._raise_if_hopeless(now)
            await asyncio.sleep(random.uniform(0.02, 0.2))

    def release(self, endpoint: Endpoint, reply: Answer | Fault) -> None:
        """Report the end of a request. If the request itself was at fault, the endpoint was not."""
        endpoint.in_flight -= 1
        if isinstance(reply, Answer) or reply.remedy is Remedy.GIVE_UP:
            endpoint.failures, endpoint.out_until = 0, 0.0
            self._patience_now, self._unreached_since = self._patience, None
            return
        now, reached = time.monotonic(), reply.remedy is Remedy.RETRY
        endpoint.fault = reply
        endpoint.rest_until = max(endpoint.rest_until, now + reply.wait)
        self._unreached_since = None if reached else self._unreached_since or now
        if now < endpoint.out_until or (reached and reply.kind == "HTTP 429"):
            return  # it was sent before, or the endpoint is busy, which is not broken
        endpoint.failures = endpoint.failures + 1 if reached else max(endpoint.failures + 1, STREAK)
        if endpoint.failures >= STREAK:
            endpoint.out_until = now + random.uniform(0.5, 1) * min(30, 2 ** (endpoint.failures - STREAK))

    def _raise_if_hopeless(self, now: float) -> None:
        faults = "; ".join(f"{e.url}: {e.fault.message.rstrip('.')}" for e in self.all if e.fault)
        if all(e.fault and e.fault.remedy is Remedy.REFUSED for e in self.all):
            raise ModelError(f"{faults}. Check --base-url, the model's name and the key (--api-key-env). {KEPT}")
        seconds = 0.0 if self._unreached_since is None else now - self._unreached_since
        if seconds > self._patience_now and all(now >= e.rest_until for e in self.all):
            raise ModelError(f"No server was reached for {seconds:.0f} s: {faults}. Start one. {KEPT}")


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
