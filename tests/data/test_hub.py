"""Data sets come from the Hub at their pinned revision, only the files that are read, and once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.miniatures import vision_opd_6k, visualprobe
from hub_server import COMMIT, Hub

from gapbench.data.catalogue import load
from gapbench.data.hub import fetch
from gapbench.errors import BenchmarkError
from gapbench.types import Card

FILES = {"data/one.txt": b"one" * 1000, "data/two.txt": b"two" * 1000, "images/large.bin": b"\0" * 50_000}
FETCH = """
import sys
from gapbench.errors import BenchmarkError
from gapbench.data.hub import fetch
from gapbench.types import Card

card = dict(name="mine", title="Mine", source="the web", licence="CC BY 4.0", hub="me/data",
            revision="{revision}", files=("data/*",), restricted="{restricted}")
try:
    print(fetch(Card(**card)))
except BenchmarkError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({"me/data": FILES}) as server:
        yield server


class Fetcher:
    """Fetches in a process of its own, since `huggingface_hub` reads its settings once."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.environment = {**os.environ, **hub.environment(home)}

    def __call__(
        self, revision: str = COMMIT, restricted: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        code = FETCH.format(revision=revision, restricted=restricted)
        return subprocess.run(
            [sys.executable, "-c", code], env={**self.environment, **environment}, capture_output=True, text=True
        )


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Fetcher:
    return Fetcher(hub, tmp_path / "home")


def files_in(done: subprocess.CompletedProcess[str]) -> dict[str, bytes]:
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


NAMED = {name: data for name, data in FILES.items() if name.startswith("data/")}


def test_only_the_files_that_the_card_names_are_fetched(hub: Hub, run: Fetcher) -> None:
    done = run()
    assert files_in(done) == NAMED
    assert sorted(hub.downloads()) == sorted(NAMED)
    assert done.stderr == ""


def test_what_is_cached_at_a_commit_needs_no_network(hub: Hub, run: Fetcher) -> None:
    run()
    hub.asked.clear()
    assert files_in(run()) == NAMED
    assert files_in(run(HF_HUB_OFFLINE="1")) == NAMED
    assert hub.asked == []
    assert files_in(run(HF_ENDPOINT="http://127.0.0.1:9")) == NAMED


def test_a_branch_is_asked_for_again_and_falls_back_to_what_is_here(hub: Hub, run: Fetcher) -> None:
    assert files_in(run("")) == NAMED
    hub.asked.clear()
    assert files_in(run("")) == NAMED
    assert hub.asked
    assert files_in(run("", HF_ENDPOINT="http://127.0.0.1:9")) == NAMED
    assert files_in(run("", HF_HUB_OFFLINE="1")) == NAMED
    hub.status = 500
    assert files_in(run("")) == NAMED
    hub.status, hub.code = 403, "GatedRepo"
    assert run("").returncode == 1, "access that was withdrawn is no lack of network"


def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, run: Fetcher) -> None:
    hub.repos["me/data"] = {"data/long.bin": b"\1" * 24_000_000}  # the Hub's client writes 10 MiB at once
    hub.cut = 1
    assert files_in(run()) == hub.repos["me/data"]
    assert [line for line in hub.asked if line.startswith("GET")] == [
        "GET/data/long.bin",
        "GET/data/long.bin from 10485760",
    ]


def test_a_fetch_that_failed_goes_on_with_what_is_missing(hub: Hub, run: Fetcher) -> None:
    hub.forbidden = {"data/two.txt"}
    assert run().returncode == 1
    hub.forbidden = set()
    hub.asked.clear()
    assert files_in(run()) == NAMED
    assert hub.downloads() == ["data/two.txt"]


def test_half_a_data_set_is_not_taken_for_a_whole_one(hub: Hub, run: Fetcher) -> None:
    folder = Path(run().stdout.strip())
    (folder / "data" / "two.txt").unlink()
    done = run(HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert f"mine: me/data at {COMMIT} is not complete in" in done.stderr
    assert "HF_HUB_OFFLINE" in done.stderr
    assert files_in(run()) == NAMED


def test_without_network_the_remedies_are_named(run: Fetcher) -> None:
    done = run(HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    for remedy in ("could not be fetched from http://127.0.0.1:9", "network", "HF_ENDPOINT", "mine=FOLDER"):
        assert remedy in done.stderr


def test_a_mirror_s_credentials_are_not_said(hub: Hub, run: Fetcher) -> None:
    mirror = hub.url.replace("http://", "http://me:hunter2@")
    for status, code in (
        (0, ""),
        (403, "GatedRepo"),
        (404, "RepoNotFound"),
        (404, "RevisionNotFound"),
        (401, ""),
        (500, ""),
    ):
        hub.status, hub.code = status, code
        endpoint = mirror if status else "http://me:hunter2@127.0.0.1:9"
        done = run(HF_ENDPOINT=endpoint)
        assert done.returncode == 1
        assert "mine: " in done.stderr
        assert "hunter2" not in done.stderr.splitlines()[-1]


def test_a_large_download_is_announced_and_a_small_one_is_not(hub: Hub, run: Fetcher) -> None:
    hub.claims = {"data/one.txt": 1_500_000_000}
    done = run(restricted="For research only.")
    announcement = done.stderr
    assert "mine: restricted: For research only." in announcement
    assert "fetching 1.50 GB of me/data at 01234567" in announcement
    assert "data/one.txt (1.50 GB), data/two.txt (0.00 MB)" in announcement
    assert "licence: CC BY 4.0" in announcement
    assert "free" in announcement
    assert "large.bin" not in announcement


def test_a_restricted_licence_is_named_before_the_fetch_and_not_again(run: Fetcher) -> None:
    assert run(restricted="For research only.").stderr == "mine: restricted: For research only.\n"
    assert run(restricted="For research only.").stderr == ""


def test_what_does_not_fit_on_the_disk_is_not_begun(hub: Hub, run: Fetcher) -> None:
    hub.claims = {"data/one.txt": 10**18}
    done = run()
    assert done.returncode == 1
    assert "fetching it takes 1000000000.00 GB" in done.stderr
    assert "HF_HOME" in done.stderr
    assert hub.downloads() == []


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (401, "GatedRepo", "Accept its terms on http://127.0.0.1:"),
        (403, "GatedRepo", "hf auth login"),
        (401, "RepoNotFound", "the Hub shows no data set me/data (HTTP 401). If http://127.0.0.1:"),
        (401, "", "hf auth login"),
        (403, "", "hf auth login"),
        (404, "RepoNotFound", "it was moved or deleted"),
        (500, "", "answered HTTP 500 for me/data. Try again later."),
    ],
)
def test_a_refusal_names_its_remedy(hub: Hub, run: Fetcher, status: int, code: str, remedy: str) -> None:
    hub.status, hub.code = status, code
    done = run()
    assert done.returncode == 1
    assert done.stderr.startswith("mine: ")
    assert remedy in done.stderr
    assert "mine=FOLDER" in done.stderr


def test_an_unknown_revision_is_said_to_be_unknown_and_a_short_one_too_short(hub: Hub, run: Fetcher) -> None:
    gone = run("f" * 40).stderr
    assert f"me/data has no revision {'f' * 40}. Its authors may have rewritten its history" in gone
    assert "me/data has no revision 0123456 (the Hub wants all 40 digits of a commit)" in run("0123456").stderr


def test_files_that_are_not_there_any_more_are_an_error_that_lists_what_is(hub: Hub, run: Fetcher) -> None:
    hub.repos["me/data"] = {"README.md": b"moved"}
    assert "no file of me/data at" in run().stderr
    assert "It has README.md." in run().stderr


def test_a_benchmark_is_checked_straight_from_the_hub(tmp_path: Path) -> None:
    vision_opd_6k.write(tmp_path / "published")
    files = {str(p.relative_to(tmp_path / "published")): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    card = load("vision_opd_6k").card
    command = [sys.executable, "-m", "gapbench", "benchmarks", "check", "vision_opd_6k", "--limit", "3"]
    with Hub({card.hub: files}, card.revision) as hub:
        environment = {**os.environ, **hub.environment(tmp_path / "home")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "samples                  3" in done.stdout
        assert "restricted: the images are SA-1B's" in done.stderr
        assert sorted(hub.downloads()) == ["original_images/original_images.tar.gz", "train.jsonl"]
    again = subprocess.run([*command, "--quiet"], env=environment, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, ""), "the Hub is gone, and nothing is unpacked twice"
    assert again.stdout == done.stdout


def test_several_data_sets_come_as_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    visualprobe.write(folder)
    levels = {
        f"Mini-o3/{level.name}": {str(p.relative_to(level)): p.read_bytes() for p in level.rglob("*") if p.is_file()}
        for level in folder.iterdir()
    }
    card = load("visualprobe").card
    commits = dict(zip(card.hub.split(", "), card.revision.split(", "), strict=True))
    with Hub(levels, commits) as server:
        environment = {**os.environ, **server.environment(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "gapbench", "benchmarks", "check", "visualprobe", "--quiet", "--limit", "99"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {f"category {level}" for level in ("easy", "medium", "hard")} <= {
        line.rpartition(" ")[0].strip() for line in done.stdout.splitlines()
    }
    assert "non-commercial research only" in done.stderr


def test_what_is_unpacked_in_the_hub_s_cache_is_deleted_with_it(tmp_path: Path) -> None:
    vision_opd_6k.write(tmp_path / "published")
    files = {str(p.relative_to(tmp_path / "published")): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    card = load("vision_opd_6k").card
    code = """
from huggingface_hub import scan_cache_dir
from gapbench.data.catalogue import load
image = load("vision_opd_6k").samples(1)[0].image
found = scan_cache_dir()
(repo,) = found.repos
(commit,) = repo.revisions
assert image.exists() and not found.warnings, found.warnings
found.delete_revisions(commit.commit_hash).execute()
assert not image.exists()
"""
    with Hub({card.hub: files}, card.revision) as hub:
        environment = {**os.environ, **hub.environment(tmp_path / "home")}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_data_that_is_not_on_the_hub_says_where_to_get_it() -> None:
    card = Card("own", "Own", "github.com/me/own", "CC0", files=("labels.json",))
    with pytest.raises(BenchmarkError, match=r"labels\.json\) from github\.com/me/own .*NAME=FOLDER"):
        fetch(card)
