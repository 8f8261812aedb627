"""A browser that a test can steer: Chromium over its debugging pipe, in real time and with the page's policy in force.

with open_page(path, width=390) as page:
    page.run("document.title")
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SHIFTS = (
    "window.shift = 0; new PerformanceObserver((list) => { for (const one of list.getEntries()) "
    "if (!one.hadRecentInput) window.shift += one.value }).observe({type: 'layout-shift', buffered: true})"
)
"""Adds up the layout shifts of the page in `window.shift`, as browsers define them (https://wicg.github.io/layout-instability)."""


@dataclass
class LivePage:
    """A page in a window. `run` returns the value of an expression."""

    to_browser: int
    from_browser: int
    session: str = ""
    number: int = 0
    rest: bytes = field(default=b"")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                self.rest += os.read(self.from_browser, 1 << 20)
            reply, _, self.rest = self.rest.partition(b"\0")
            answer: dict[str, Any] = json.loads(reply)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def run(self, expression: str) -> Any:
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, text=key if len(key) == 1 and kind == "keyDown" else ""
            )


@contextmanager
def open_page(path: Path, fragment: str = "", width: int = 1300, height: int = 900) -> Iterator[LivePage]:
    """Open a file in a window of that size and wait until it is loaded and drawn."""
    profile = path.parent / "live-profile"
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
        "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
    ]  # fmt: skip
    # The browser reads from descriptor 3 and writes to 4.
    plumbing = f'exec 3<&{to_read} 4>&{from_write}; exec "$@"'
    browser = subprocess.Popen(
        ["bash", "-c", plumbing, "bash", *command],
        pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_read)
    os.close(from_write)
    page = LivePage(to_write, from_read)
    try:
        target = page.send("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page.send("Page.enable")
        page.send("Page.addScriptToEvaluateOnNewDocument", source=SHIFTS)
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        page.send("Page.navigate", url=path.as_uri() + fragment)
        for _ in range(200):
            if page.run("document.readyState === 'complete' && location.protocol === 'file:'"):
                break
            time.sleep(0.05)
        page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        yield page
    finally:
        os.close(to_write)
        browser.kill()
        browser.wait()
        os.close(from_read)
        shutil.rmtree(profile, ignore_errors=True)
