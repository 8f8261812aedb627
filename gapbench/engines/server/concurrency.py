"""How many requests are under way at once: a number, or as many as make the server faster.

    limit = AdaptiveLimit(None)                 # automatic
    async with limit: ...               # one place

Automatic: starts at `START` and doubles as long as that raises the rate of answers by `GAIN`; then stays, and tries a
quarter more now and then. Whenever the server says that it is busy (429, 503, a timeout), or more than a tenth of what
it says are errors, the limit is halved, at most once for all that was under way together, and grows by a quarter from
there. It does not grow while we are what is slow.

Limits: rates are in answers a second, so a change of what is asked (larger images, say) looks like a change of speed
until the next trial.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

START = 16
MOST = 256
"""Requests under way per server, at first and at most, where the number is automatic."""
SOCKETS = 768
"""Requests under way in all, at most: a process may usually open 1,024 files."""
GAIN = 1.05
ROUND = 0.2
"""Seconds that a rate is measured over, at least."""
PATIENCE = 8
"""Rounds between two trials of a higher limit, once a higher limit did not help."""


class AdaptiveLimit:
    """An asynchronous context: inside, at most `now` are. Those who ask first come first.

    `idle` adds up the seconds times the fraction of places that stood empty for want of questions: not while one rests
    before its next try (`resting`), nor once nothing is left to ask (`close`). `highest` is the most that were inside.
    """

    def __init__(self, fixed: int | None, servers: int = 1) -> None:
        self.now = fixed or START * servers
        self.inside = self.highest = 0
        self.idle = 0.0
        self._resting = 0
        self._most = fixed or min(MOST * servers, SOCKETS)
        self._auto = fixed is None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._factor = 2.0
        self._best = 0.0
        self._steady = self.now
        self._misses = 0
        self._errors = 0.0
        self._cut = 0.0
        self.restart()

    def restart(self) -> None:
        """Measure anew, after a pause."""
        self._closing, self._looked = False, time.perf_counter()
        self._new_round(settle=False)

    async def __aenter__(self) -> None:
        if self.inside < self.now and not self._waiting:
            self._look()
            self.inside += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                with suppress(ValueError):
                    self._waiting.remove(place)
            else:
                self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Around a pause outside: that place is empty for the server's faults."""
        self._look()
        self._resting += 1
        try:
            yield
        finally:
            self._look()
            self._resting -= 1

    def close(self) -> None:
        """From here on places stand empty because there is nothing left to ask."""
        self._look()
        self._closing = True

    def _look(self) -> None:
        """Before anyone comes or goes: how long it has been as empty as it is."""
        now = time.perf_counter()
        if not self._closing:
            self.idle += (now - self._looked) * max(0, self.now - self.inside - self._resting) / self.now
        self._looked = now
        self.highest = max(self.highest, self.inside)

    def _leave(self) -> None:
        self._look()
        self.inside -= 1
        self._admit()

    def _admit(self) -> None:
        """Let in those for whom there is room."""
        while self._waiting and self.inside < self.now:
            place = self._waiting.popleft()
            if not place.done():
                self.inside += 1
                place.set_result(None)

    def answered(self) -> None:
        """One more answer came; at the end of a round the limit may change."""
        self._errors *= 0.95
        if not self._auto:
            return
        self._seen += 1
        self._full += self.inside >= self.now
        if self._skip:
            self._skip -= 1
            if not self._skip:
                self._new_round(settle=False)
        elif self._seen >= self.now and (elapsed := time.perf_counter() - self._started) >= ROUND:
            self._end_round(self._seen / elapsed)

    def troubled(self, started: float, busy: bool) -> None:
        """A request begun at `started` (perf_counter) met an error of the server."""
        self._errors = 0.95 * self._errors + 0.05
        if not self._auto or started < self._cut or not (busy or self._errors > 0.1):
            return
        self._cut = time.perf_counter()
        self._set(self.now // 2)
        self._factor, self._best, self._steady, self._misses = 1.25, 0.0, self.now, 0

    def _end_round(self, rate: float) -> None:
        if self._full < 0.8 * self._seen:  # images came too slowly: nothing was learnt about the server
            self._new_round(settle=False)
        elif rate > GAIN * self._best:
            self._best, self._steady, self._misses = rate, self.now, 0
            self._set(max(self.now + 1, int(self.now * self._factor)))
        elif self._misses == 0 and self.now > self._steady:  # once more: rates are noisy
            self._misses = 1
            self._new_round(settle=False)
        else:
            self._misses += 1
            if self._misses % PATIENCE:
                self._set(self._steady)
            else:  # the speed of what is asked now, and whether more would help
                self._best, self._factor, self._misses = rate, 1.25, 0
                self._set(max(self.now + 1, int(self.now * self._factor)))

    def _set(self, limit: int) -> None:
        self._look()
        before, self.now = self.now, max(1, min(limit, self._most))
        self._new_round(settle=self.now != before)
        self._admit()

    def _new_round(self, settle: bool) -> None:
        """After a change, as many answers as were under way are left out of the next rate."""
        self._skip = self.now if settle else 0
        self._seen = self._full = 0
        self._started = time.perf_counter()
