"""Limit the requests in flight: to a fixed number, or to as many as still raise the throughput.

    limit = AdaptiveLimit(None)         # automatic
    async with limit: ...               # one request in flight

The automatic limit starts at `START` and doubles as long as that raises the rate of answers by `GAIN`. Then it stays,
and sometimes tries a quarter more. If the server is busy (429, 503, a timeout) or more than a tenth of its replies are
errors, the limit is halved, at most once for all requests in flight at that moment, and then grows by a quarter at a
time. It does not grow while this process is the bottleneck.

Limits: rates are answers per second, so a change in the requests (larger images, for example) looks like a change of
speed until the next trial.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

START = 16
MOST = 256
"""Requests in flight per server under the automatic limit: `START` at first, `MOST` at most."""
SOCKETS = 768
"""Most requests in flight over all servers: a process may usually open 1,024 files."""
GAIN = 1.05
"""Factor by which the rate of answers must rise for a higher limit to stay."""
ROUND = 0.2
"""Shortest time in seconds over which a rate is measured."""
PATIENCE = 8
"""Rounds until the next trial of a higher limit, after one that did not help."""


class AdaptiveLimit:
    """An asynchronous context that at most `now` requests hold at once, first come, first served.

    `idle` sums the seconds, times the share of places that stood empty because no request was ready. Requests in
    backoff (`rest`) do not count as empty places, and nothing counts after the last request (`close`). `highest` is
    the most requests that were in flight at once.
    """

    def __init__(self, fixed: int | None, servers: int = 1) -> None:
        self.now = fixed or START * servers
        self.highest, self.idle = 0, 0.0
        self._most = fixed or min(MOST * servers, SOCKETS)
        self._auto = fixed is None
        self._factor, self._best, self._steady, self._misses = 2.0, 0.0, self.now, 0
        self._errors = self._cut = 0.0
        self.restart()

    def restart(self) -> None:
        """Start afresh, without the requests of a `generate` that was stopped and without the pause since it."""
        self.inside = self._resting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closing, self._idle_since = False, time.perf_counter()
        self._new_round(settle=False)

    async def __aenter__(self) -> None:
        if self.inside < self.now and not self._waiting:
            self._update_idle()
            self.inside += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        await place

    async def __aexit__(self, *_: object) -> None:
        self._update_idle()
        self.inside -= 1
        self._admit()

    async def rest(self, seconds: float) -> None:
        """A request pauses before its next try: its empty place does not count as idle."""
        self._update_idle()
        self._resting += 1
        await asyncio.sleep(seconds)
        self._update_idle()
        self._resting -= 1

    def close(self) -> None:
        """No more requests will come: empty places no longer count as idle."""
        self._update_idle()
        self._closing = True

    def _update_idle(self) -> None:
        """Add the idle time since the last call. Call it before every change of `inside`, `now` or `_resting`."""
        now = time.perf_counter()
        if not self._closing:
            self.idle += (now - self._idle_since) * max(0, self.now - self.inside - self._resting) / self.now
        self._idle_since = now
        self.highest = max(self.highest, self.inside)

    def _admit(self) -> None:
        """Admit waiting requests up to the limit."""
        while self._waiting and self.inside < self.now:
            place = self._waiting.popleft()
            if not place.done():
                self.inside += 1
                place.set_result(None)

    def count_answer(self) -> None:
        """Count one answer. At the end of a round, the limit may change."""
        self._errors *= 0.95
        if not self._auto:
            return
        self._answers += 1
        self._answers_at_limit += self.inside >= self.now
        if self._skip:
            self._skip -= 1
            if not self._skip:
                self._new_round(settle=False)
        elif self._answers >= self.now and (elapsed := time.perf_counter() - self._started) >= ROUND:
            self._end_round(self._answers / elapsed)

    def count_error(self, started: float, busy: bool) -> None:
        """Count a server error for a request that began at `started` (perf_counter)."""
        self._errors = 0.95 * self._errors + 0.05
        if not self._auto or started < self._cut or not (busy or self._errors > 0.1):
            return
        self._cut = time.perf_counter()
        self._set(self.now // 2)
        self._factor, self._best, self._steady, self._misses = 1.25, 0.0, self.now, 0

    def _end_round(self, rate: float) -> None:
        if self._answers_at_limit < 0.8 * self._answers:  # images came too slowly to measure the server
            self._new_round(settle=False)
        elif rate > GAIN * self._best:
            self._best, self._steady, self._misses = rate, self.now, 0
            self._set(max(self.now + 1, int(self.now * self._factor)))
        elif self._misses == 0 and self.now > self._steady:  # measure again: rates are noisy
            self._misses = 1
            self._new_round(settle=False)
        else:
            self._misses += 1
            if self._misses % PATIENCE:
                self._set(self._steady)
            else:  # measure the current speed, and try a higher limit again
                self._best, self._factor, self._misses = rate, 1.25, 0
                self._set(max(self.now + 1, int(self.now * self._factor)))

    def _set(self, limit: int) -> None:
        self._update_idle()
        before, self.now = self.now, max(1, min(limit, self._most))
        self._new_round(settle=self.now != before)
        self._admit()

    def _new_round(self, settle: bool) -> None:
        """Start a round. With `settle`, after a change of the limit, its rate leaves out the requests now in flight."""
        self._skip = self.now if settle else 0
        self._answers = self._answers_at_limit = 0
        self._started = time.perf_counter()
