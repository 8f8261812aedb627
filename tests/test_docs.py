"""What README and docs tell a reader to type is what gapbench takes; the README's commands and the examples run."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from benchmarks.miniatures import vstar
from helpers import write_benchmark

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]
GLANCE = ROOT / "gapbench" / "glance" / "model"
CODE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of a page's bash blocks, as the shell would split them; comments and line ends are gone."""
    for language, block in CODE.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines() if language == "bash" else ():
            if words := shlex.split(line, comments=True):
                yield words


def gapbench_arguments(page: Path) -> Iterator[list[str]]:
    """What follows `gapbench` or `-m gapbench`, also behind a launcher."""
    for words in commands(page):
        if words[0] == "gapbench":
            yield words[1:]
        elif "gapbench" in words and words[words.index("gapbench") - 1] == "-m":
            yield words[words.index("gapbench") + 1 :]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_gapbench_takes_every_command_of_the_page(page: Path) -> None:
    from gapbench.cli.app import app

    for arguments in gapbench_arguments(page):
        command: Any = typer.main.get_command(app)
        names = ["gapbench"]
        rest = [word for word in arguments if word not in ("…", "...")]
        while rest and rest[0] in getattr(command, "commands", {}):
            names.append(rest[0])
            command, rest = command.commands[rest[0]], rest[1:]
        if rest == ["--version"] or rest == ["--install-completion"]:
            continue
        assert len(names) > 1, f"no such command: gapbench {shlex.join(arguments)}"
        command.make_context(
            " ".join(names), rest
        )  # raises for an unknown flag, a missing one, a value of another type


def test_every_command_stands_in_the_docs() -> None:
    from gapbench.cli.app import app

    shown = {" ".join(arguments[:2]) for page in PAGES for arguments in gapbench_arguments(page)}
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    main: Any = typer.main.get_command(app)
    for name in main.commands:
        assert any(line.split()[:1] == [name] for line in shown) or f"`gapbench {name} " in text, name


def test_the_readme_is_one_page_with_a_sample_card_at_its_top() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) < 900
    assert 0 < text.find('<img src="docs/images/card.png"') < text.index("\n## ")
    assert (ROOT / "docs" / "images" / "card.png").is_file()


@pytest.mark.slow
def test_every_command_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In their order, in one folder. A copy of glance and a miniature stand for what would be downloaded."""
    from gapbench.cli.app import app, run

    (tmp_path / "vstar").mkdir()
    vstar.write(tmp_path / "vstar")
    write_benchmark(tmp_path, questions=8)
    write_benchmark(tmp_path / "test", questions=4)
    shutil.copytree(tmp_path / "test", tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mine.jsonl"))
    shutil.copy(tmp_path / "test" / "mine.jsonl", tmp_path / "mine-test.jsonl")
    shutil.copytree(GLANCE, tmp_path / "model")
    stands_for = {"Qwen/Qwen3-VL-4B-Instruct": str(tmp_path / "model"), "vstar": f"vstar={tmp_path / 'vstar'}"}
    shorter = {
        "distill": ["--steps=1", "--no-holdout", "prompts_per_step=2", "rollouts_per_prompt=1", "max_new_tokens=8"],
        "check": ["--limit", "50"],  # a miniature has fewer samples than the card promises of the whole
    }
    monkeypatch.chdir(tmp_path)
    ran = []
    for words in commands(README):
        if words[:2] == ["pip", "install"]:
            assert words[2:] == ["-c", "constraints.txt", "."]
            quick = ["--dry-run", "--no-deps", "--no-index", "--no-build-isolation", "-q"]
            subprocess.run([sys.executable, "-m", *words, *quick], cwd=ROOT, check=True, timeout=120)
            continue
        assert words[0] == "gapbench", f"a command that no test runs: {shlex.join(words)}"
        name = words[2] if words[1] == "benchmarks" else words[1]
        arguments = [stands_for.get(word, word) for word in words[1:]] + shorter.get(name, [])
        monkeypatch.setattr(sys, "argv", ["gapbench", *arguments])
        code = run(app)
        assert code == 0, f"{shlex.join(words)}: exit code {code}\n{capsys.readouterr().err}"
        ran.append(name)
    assert {"check", "board", "compare", "distill", "doctor", "export", "measure", "runs"} <= set(ran)
    for page in (
        "runs/first/report.html",
        "vstar.html",
        "runs/lora/comparison.html",
        "board/board.html",
        "results.tex",
    ):
        assert (tmp_path / page).stat().st_size > 1_000, page
    assert "\\toprule" in (tmp_path / "results.tex").read_text()

    quoted = re.search(r"((?:^> glance answers.*\n)(?:^> .*\n)*)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert quoted
    assert quoted[1].replace("> ", "").replace("\n", " ").strip() in capsys.readouterr().out

    python = [block for language, block in CODE.findall(README.read_text(encoding="utf-8")) if language == "python"]
    exec(compile("".join(python), README, "exec"), {})  # noqa: S102 (our own file)
    made = subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "gapbench demo" in made.stdout


@pytest.mark.slow
def test_the_python_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "python.md"
    blocks = [block for language, block in CODE.findall(page.read_text(encoding="utf-8")) if language == "python"]
    names: dict[str, Any] = {}
    exec(compile("".join(blocks).replace("limit=100", "limit=30"), page, "exec"), names)  # noqa: S102 (our own file)
    assert len(names["runs"]) == 1
    assert (tmp_path / "results.csv").read_text().startswith("run,benchmark,")


@pytest.mark.slow
def test_the_script_measures_two_models_on_twenty_images_and_makes_their_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GLANCE, tmp_path / "model")
    arguments = ["own_data.py", "glance", str(tmp_path / "model"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(EXAMPLES / "own_data.py"), run_name="__main__")
    board = json.loads((tmp_path / "board" / "board.json").read_text())
    assert len(board["runs"]) == 2
    (benchmark,) = board["benchmarks"].values()
    assert (benchmark["n"], benchmark["clusters"]) == (20, 20)


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    # The kernel is a process of its own, and imports this checkout.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook is kept without outputs"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    for part in ("from the crop", "crop_only", "image/png", r"\\toprule"):
        assert part in shown, part
