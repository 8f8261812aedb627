"""A sweep: several models measured from one file, one after another, and then the board.

    models: [glance, Qwen/Qwen3-VL-4B-Instruct, {model: runs/x/model, name: distilled}]
    benchmark: signs-core@1
    out: runs/sweep

    failed = run_sweep(read_sweep(Path("sweep.yaml"), known))

Every other key is an option of `gapbench measure` without its dashes; a list repeats it, and an entry of `models` may
have options of its own. Each model is measured by a process of its own, so a model that fails, or takes its process
down, ends nothing else. The same command after a kill goes on: runs that are complete by the same command are kept, and
the others continue.

Limits: one model at a time. For several machines, start the same file with `--shard K/N` on each.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gapbench.commands.board import board
from gapbench.commands.measure import of_shard, run_name
from gapbench.errors import GapbenchError, SettingError
from gapbench.runs.listing import SUMMARY, entry_of, short_name
from gapbench.runs.manifest import FILE, read_manifest
from gapbench.util.terminal import say
from gapbench.util.text import interval, percent, points, redacted, shorten

OWN = ("model", "models", "name", "out", "board", "baseline")
"""Keys that are no options of measure, or that the sweep passes on by itself."""
INTERRUPTED = 130


@dataclass(frozen=True)
class SweptModel:
    """One model of a sweep: its name in lines about it, its label on the board, its run's folder, and the arguments of
    `gapbench` that measure it."""

    name: str
    label: str
    folder: Path
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command as the run's manifest has it."""
        return redacted(shlex.join(["gapbench", *self.arguments]))


@dataclass(frozen=True)
class Sweep:
    """What a file asks for. `board` is the folder of the board, None for none; `baseline` a model's name, or empty."""

    models: tuple[SweptModel, ...]
    board: Path | None
    baseline: str


def read_sweep(file: Path, known: Sequence[str], extra: Sequence[str] = (), root: Path | None = None) -> Sweep:
    """The sweep in a YAML file. `known` are the flags of measure, `extra` arguments that are added for every model.

    `root` replaces the folder `out` of the file. Raises SettingError for a file that cannot be read, an unknown key, no
    model, and two models of one name.
    """
    try:
        text = file.read_text(encoding="utf-8")
        config = _keys(yaml.safe_load(text))
        _check_once(yaml.compose(text, yaml.SafeLoader))
        listed = config.get("models", config.get("model")) or []
        entries = [
            _keys(one if isinstance(one, Mapping) else {"model": one})
            for one in (listed if isinstance(listed, list) else [listed])
        ]
    except (OSError, ValueError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise SettingError(
            f"--config {file}: cannot be read ({shorten(str(error))}). Expected YAML with keys such as models."
        ) from error
    if not entries or not all(entry.get("model") for entry in entries):
        raise SettingError(f"--config {file}: it names no model. Expected `models: [glance, OWNER/NAME]`.")
    for key in (*config, *(key for one in entries for key in one)):
        if key in ("help", "config") or (key not in OWN and f"--{key}" not in known):
            raise SettingError(f"--config {file}: measure has no option --{key}. See gapbench measure --help.")
    for key in (key for entry in entries for key in entry if key in OWN and key not in ("model", "name")):
        raise SettingError(f"--config {file}: {key} holds for the whole sweep, not for one of its models. Move it.")
    out = root or Path(str(config.get("out") or "runs"))
    models = []
    for entry in entries:
        model, given = str(entry["model"]), str(entry.get("name") or "")
        name, flags = given or run_name(model), [*_flags({**config, **entry}), *extra]
        shard = flags[flags.index("--shard") + 1] if "--shard" in flags else ""
        folder = of_shard(out / name, shard)
        arguments = ("measure", model, *flags, "--out", str(folder))
        models.append(SweptModel(name, given or short_name(model), folder, arguments))
    names = [model.name for model in models]
    places = [model.folder.resolve() for model in models]
    if twice := sorted({name for name, place in zip(names, places, strict=True) if places.count(place) > 1}):
        raise SettingError(
            f"--config {file}: two models are called {twice[0]}; give one of them a name: {{model: …, name: …}}."
        )
    board = config.get("board", str(out / "board") if len(models) > 1 else None)
    if board and Path(str(board)).resolve() in places:
        raise SettingError(f"--config {file}: board is the folder of a run, too. Choose `board: {out}/other`.")
    return Sweep(tuple(models), Path(str(board)) if board else None, str(config.get("baseline") or ""))


def _keys(entry: Any) -> dict[str, Any]:
    """The entry with keys as flags have them: `max_pixels` is `max-pixels`."""
    return {str(key).replace("_", "-"): value for key, value in entry.items()}


def _check_once(root: yaml.Node | None) -> None:
    """Raises ValueError for a key that is given twice: YAML would take the last without a word."""
    left, seen = [root], set[int]()
    while left:
        node = left.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [str(key.value).replace("_", "-") for key, _ in node.value]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise ValueError(f"the key {twice[0]} is given twice")
            left += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value


def _flags(options: Mapping[str, Any]) -> list[str]:
    """Options as arguments: `true` is the flag alone, null and `false` are left out, a list repeats the flag."""
    flags = []
    for key, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if key in OWN or one is None or one is False:
                continue
            flags += [f"--{key}"] if one is True else [f"--{key}", str(one)]
    return flags


def run_sweep(sweep: Sweep, quiet: bool = False) -> int:
    """Measure each model, say one line about it, then make the board. Returns how many models failed.

    Raises KeyboardInterrupt when it, or the process of a model, was interrupted.
    """
    done: list[SweptModel] = []
    for number, model in enumerate(sweep.models, 1):
        error = "" if _is_complete(model) else _measure(model, quiet)
        said = f"FAILED: {error}" if error else _in_a_line(model.folder)
        say(f"{number}/{len(sweep.models)} {model.name}: {said}", sys.stdout)
        done += [] if error else [model]
    failed = len(sweep.models) - len(done)
    if sweep.board and done and not any("--shard" in model.arguments for model in done):
        labels = {str(model.folder): model.label for model in done}
        known = {name: str(model.folder) for model in done for name in (model.label, model.name)}
        if sweep.baseline and sweep.baseline not in known:
            say(f"note: the baseline {sweep.baseline} was not measured, so the board has none.", sys.stdout)
        try:
            made = board(list(labels), sweep.board, baseline=known.get(sweep.baseline, ""), labels=labels)
        except GapbenchError as problem:
            say(f"no board: {problem}", sys.stdout)
            return failed + 1
        say(f"{made.summary['verdict']}\nboard: {made.report}", sys.stdout)
    return failed


def _is_complete(model: SweptModel) -> bool:
    """Whether the run has all answers, by this same command, and its results."""
    if not (model.folder / FILE).exists() or not (model.folder / SUMMARY).exists():
        return False
    try:
        sessions = read_manifest(model.folder / FILE).sessions
    except GapbenchError:
        return False
    same = bool(sessions) and sessions[-1].command == model.command
    return (
        same and "--retry-failed" not in model.arguments and str(entry_of(model.folder)["state"]).endswith("complete")
    )


def _measure(model: SweptModel, quiet: bool) -> str:
    """Measure one model in a process of its own; what it says goes to standard error. Returns why it failed, or ""."""
    process = subprocess.Popen(  # noqa: S603 (our own command line)
        [sys.executable, "-m", "gapbench", *model.arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    said: list[str] = []

    def pass_on(stream: Any) -> None:
        for line in stream:
            said.append(line.strip())
            del said[:-50]
            if not quiet:
                say(line.rstrip() if line.startswith(f"{model.name}: ") else f"{model.name}: {line.rstrip()}")

    threads = [threading.Thread(target=pass_on, args=(s,), daemon=True) for s in (process.stderr, process.stdout)]
    for thread in threads:
        thread.start()
    try:
        with _stopped_by(signal.SIGTERM):
            code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)  # it keeps its answers; from a terminal it has the signal already
        process.wait()
        raise
    for thread in threads:
        thread.join()
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    reason = next((line.removeprefix("gapbench: ") for line in reversed(said) if line), "it said nothing")
    return f"exit code {code}: {reason}" if code else ""


@contextmanager
def _stopped_by(number: signal.Signals) -> Iterator[None]:
    """The signal interrupts as Ctrl-C does. A thread that is not the main one gets no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(number, before)


def _in_a_line(folder: Path) -> str:
    """The numbers of a run."""
    entry = entry_of(folder)
    parts = [f"{view} {percent(entry[view])}" for view in ("full", "crop") if entry[view] is not None]
    if entry["gap"] is not None:
        parts.append(f"gap {points(entry['gap'])} {interval(entry['ci'], signed=True)}".strip())
    return f"{', '.join(parts)}; {entry['state']} -> {folder.as_posix()}"
