"""Shared by all tests: one OpenMP thread, no hub, and tiny real checkpoints built once per session."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Two test processes with two threads each crawl on two cores; must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))
sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("scripts", "scripts/glance")]

import huggingface_hub.constants  # reads its switches once, before a test with --quiet can set one for all that follow
import pytest
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from hypothesis import settings

assert huggingface_hub.constants.HF_HUB_OFFLINE

# The same inputs in every run: no draw may fail a change that it has nothing to do with. `make evidence` draws anew.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def bars_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whether the Hub shows progress is for the rest of a process: no test may decide it for those that follow."""
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)  # set by `--quiet`
    yield
    hidden = are_progress_bars_disabled()
    enable_progress_bars()
    assert not hidden, "progress bars of the Hub were hidden and not shown again"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """tiny("qwen3_vl") -> the folder of a tiny random checkpoint of that family."""
    from tiny_models import build

    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = build(family, tmp_path_factory.mktemp(family))
        return made[family]

    return get


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome to look at reports with."""
    found = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if found is None:
        pytest.skip("no Chromium on this machine; install the package `chromium` to run the browser tests")
    return found


@pytest.fixture(scope="module", autouse=True)
def what_stays_is_searched_once() -> None:
    """Closing an engine searches all objects for garbage, in half a second with torch and all tests in memory.

    What is there when a module's tests begin, stays, and is left out of later searches.
    """
    gc.collect()
    gc.freeze()
