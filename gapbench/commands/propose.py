"""Training samples from plain images, made by the model itself: `gapbench.propose`.

    proposed = gapbench.propose("photos", "Qwen/Qwen3-VL-4B-Instruct", out="data.jsonl")
    print(proposed.text())
    gapbench.distill("Qwen/Qwen3-VL-4B-Instruct", "data.jsonl", eval=["vstar"])

The model reads overlapping windows of each image (`gapbench.proposals.windows`), what it lists becomes questions
(`proposers`), and gates reject what is doubtful (`gates`). If what survives looks wrong, no data are written. The same
call after a kill continues, and what failed is asked again; the data are the same. `gapbench.proposals.outputs` lists
the files.

Limits: images, not videos. An error that the model makes in every window alike is not seen. docs/proposals.md says when
to trust the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapbench.data import catalogue
from gapbench.data.benchmark import fingerprint
from gapbench.data.plain_images import plain_images
from gapbench.engines import loading
from gapbench.engines.hardware import hardware
from gapbench.engines.options import Generation
from gapbench.engines.prompt_batches import PromptLengths
from gapbench.errors import BenchmarkError, RunError, SampleError, SettingError
from gapbench.proposals import estimate, making, outputs, proposers, truth
from gapbench.proposals.asking import Readings
from gapbench.proposals.gates import UNREAD, Checks, refuse_unread
from gapbench.proposals.thresholds import Settings
from gapbench.proposals.thresholds import load as load_settings
from gapbench.runs import records
from gapbench.runs.lock import hold
from gapbench.runs.manifest import continue_or_start, make_manifest, new_session, write_manifest
from gapbench.types import Engine, Request, Sample
from gapbench.util.files import write_json
from gapbench.util.progress import progress
from gapbench.util.terminal import say
from gapbench.views import images as decoder
from gapbench.views.pixels import Pixels

CHUNK = 32
"""Images whose windows and gates are asked together. What is read of them stays on disk until all are done."""
SAMPLED = 100
"""Images whose sizes the estimate of tokens rests on."""
REFUSALS = {"most_disagreement", "least_rows"}
"""Settings that no row depends on: a later call may change them."""
SCHEMA = 1
"""The version of the card."""


@dataclass(frozen=True)
class Proposed:
    """The data, their card, and why none were written (empty if they were). Data of an earlier call are kept."""

    path: Path
    card: dict[str, Any]
    refused: str = ""

    def text(self) -> str:
        """Counts, estimate and truth in words."""
        counts = self.card["counts"]
        lines = [
            f"{counts['images']:,} images, {counts['windows']:,} windows, {counts['one_object']:,} with one object, "
            f"{counts['objects']:,} objects, {counts['rows']:,} questions, {counts['kept']:,} kept.",
            *(f"  rejected by {gate}: {count:,}" for gate, count in counts["rejected"].items()),
            *(f"  {line}" for line in estimate.missing(counts)),
            *(f"  {line}" for line in estimate.in_words(self.card["estimate"])),
        ]
        if self.card.get("truth"):
            lines.append(truth.in_words(self.card["truth"]))
        return "\n".join(lines)


def propose(
    images: str,
    model: str,
    out: str | Path = "data.jsonl",
    *,
    settings: Sequence[str] = (),
    limit: int | None = None,
    like: str = "",
    accept_noisy: bool = False,
    sheet: str | Path | None = None,
    engine: str = "auto",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    quiet: bool = True,
    command: str = "",
    **options: Any,
) -> Proposed:
    """Let `model` make training samples of plain `images`: a folder, a file of rows, or a benchmark (its images only).

    `settings` are KEY=VALUE of `gapbench/proposals/thresholds.yaml`. `like` names a benchmark whose questions are
    resembled. `limit` takes the first images. `sheet` is an HTML page of rows to look at. If the data look wrong, they
    are written only with `accept_noisy`. The other settings are those of `gapbench.measure`.

    Raises GapbenchError subclasses whose message names the setting or file and the remedy. What was read before an
    error is kept, and the next call goes on from there.
    """
    from gapbench.engines import models

    path, chosen = Path(out), load_settings(settings)
    outputs.check(path, Path(sheet) if sheet else None)
    choice = loading.choose(model, engine, options)
    defaults = models.benchmark_defaults(model, choice.engine)
    name, found = plain_images(images, limit, defaults)
    proposer = _proposer(chosen, like, defaults)
    pixels = Pixels(min_pixels, max_pixels)
    command = command or f"gapbench.propose({images!r}, {model!r}, {str(out)!r})"
    with hold(path.parent, command, path.name):
        choice.announce(quiet)
        with closing(loading.load(model, choice, Generation(confidence=True), pixels)) as loaded:
            details = {
                **loaded.info,
                "settings": chosen.model_dump(mode="json", exclude=REFUSALS),
                "proposer": _provenance(proposer),
            }
            entry = {"benchmark": name, "samples": len(found), "limit": limit, "fingerprint": fingerprint(found)}
            session = new_session(command, hardware(), {**loaded.info, "engine_choice": choice.reason})
            manifest = make_manifest({**details, "tasks": {name: entry}, "sessions": [session]})
            audit = outputs.beside(path, "audit.jsonl")
            manifest = continue_or_start(outputs.beside(path, "run.json"), audit, manifest, {name: found}, fingerprint)
            readings = Readings(loaded, found, pixels, outputs.beside(path, "readings.jsonl"))
            checks = Checks(readings, proposer, chosen, chosen.window_pixels, len(found))
            projected = _projection(loaded, found, checks)
            if not quiet:
                say(projected["text"])
            try:
                _make_pending(path, found, checks, model, quiet)
            finally:  # of a session that is killed the tokens are not known
                spent = session.model_copy(update={"throughput": dict(readings.tokens)})
                manifest = manifest.model_copy(update={"sessions": [*manifest.sessions[:-1], spent]})
                write_manifest(outputs.beside(path, "run.json"), manifest)
        lines = outputs.sort_audit(path)[: len(found)]
        rows = outputs.kept_rows(lines)
        estimated = estimate.estimate(rows)
        card = {
            "schema_version": SCHEMA,
            "notice": f"{model} made the questions and the boxes (gapbench propose), and nobody has checked them. They "
            f"train and never evaluate. Without labels: {(estimate.in_words(estimated) or ['no estimate'])[0]}.",
            **details,
            "images": images,
            "counts": _counts(lines),
            "tokens": {
                "windows_of_an_image": projected["tokens"],
                "all_sessions": dict(sum((Counter(s.throughput or {}) for s in manifest.sessions), Counter[str]())),
            },
            "estimate": estimated,
            "sessions": [s.model_dump(mode="json", exclude_unset=True) for s in manifest.sessions],
        }
        refused = estimate.refusal(card["estimate"], chosen, card["counts"])
        card["accepted_noisy"] = refused if accept_noisy else ""
        kept = refused and not accept_noisy and path.exists()
        if kept:
            refused += f" {path} and its card are kept as an earlier call wrote them, because that one was accepted."
        elif not refused or accept_noisy:
            outputs.write_data(path, rows, found)
        card["truth"] = _truth(images, lines, found, defaults)  # last: the data are written
        if not kept:
            write_json(outputs.beside(path, "proposal.json"), card)
        if sheet:
            from gapbench.commands.proposal_sheet import write_sheet

            write_sheet(Path(sheet), path.name, lines, found, card)
    return Proposed(path, card, "" if accept_noisy else refused)


def _proposer(settings: Settings, like: str, defaults: Mapping[str, Mapping[str, Any]]) -> proposers.Proposer:
    """The proposer of the settings. A model with benchmark settings of its own is one that lists drawn scenes."""
    name = settings.proposer
    if name == "auto":
        name = "template" if settings.template else "listing" if defaults else "describe-then-ask"
    wordings = ""
    if settings.template:
        try:
            wordings = Path(settings.template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(
                f"template={settings.template}: cannot be read ({error}). Expected a text file."
            ) from error
    questions = [sample.question for sample in catalogue.load(like, defaults).samples()] if like else []
    return proposers.find(name, wordings, questions)


def _provenance(proposer: proposers.Proposer) -> dict[str, Any]:
    """Everything that the model is told, for the card."""
    return {
        "name": proposer.name, "prompt": proposer.prompt, "ask": proposer.ask, "count": proposer.count,
        "wordings": [f"{wording.text} -> {wording.asked}" for wording in proposer.wordings],
    }  # fmt: skip


def _make_pending(path: Path, images: Sequence[Sample], checks: Checks, model: str, quiet: bool) -> None:
    """Make the lines of the audit file that are missing or have failed readings, in the order of the images."""
    earlier: dict[int, bool] = {}
    for place, line in enumerate(outputs.read_audit(path), 1):
        if line["number"] < len(images) and line["image"] != images[line["number"]].id:
            raise RunError(
                f"{outputs.beside(path, 'audit.jsonl')} line {place}: not of this call. Choose another --out."
            )
        earlier[line["number"]] = bool(line.get("failed"))
        checks.evaluated.update(g for row in line["rows"] for g in row["gates"] if row["rejected"] != g + UNREAD)
    pending = [number for number in range(len(images)) if earlier.get(number, True)]
    done, failing = len(images) - len(pending), any(earlier[number] for number in earlier if number >= len(images))
    with progress(None, 0, model, quiet, about=lambda: f"{done:,} of {len(images):,} images are done") as advance:
        checks.readings.said = advance
        for start in range(0, len(pending), CHUNK):
            lines = making.make(pending[start : start + CHUNK], images, checks)
            with records.Writer(path.parent, outputs.beside(path, "audit.jsonl").name) as writer:
                for line in lines:
                    writer.write(line)
            done += len(lines)
            failed = any(line.get("failed") for line in lines)
            failing = failing or failed
            checks.readings.forget(keep=failed)
    refuse_unread(checks)
    if not failing:
        checks.readings.path.unlink(missing_ok=True)


def _projection(engine: Engine, images: Sequence[Sample], checks: Checks) -> dict[str, Any]:
    """The mean of the tokens that reading the windows of an image takes, and those of all images in words.

    `SAMPLED` images, evenly spread, count by the sizes in their headers. Without the model's own processor, a token is
    counted for every `making.TOKEN_PIXELS`.
    """
    from PIL import Image

    sizes: Counter[tuple[int, int]] = Counter()
    for image in images[:: -(-len(images) // SAMPLED)]:
        with suppress(SampleError):
            sizes[decoder.stored_size(image.image)] += 1
    if not sizes:
        raise BenchmarkError(f"none of the {len(images)} images can be read. Check the first: {images[0].id}.")
    prompt, chat = checks.proposer.prompt, getattr(engine, "chat", None)
    lengths = PromptLengths(chat) if chat else None

    def tokens_of(size: tuple[int, int]) -> int:
        return (
            lengths(Request("", (Image.new("L", size),), prompt)) if lengths
            else size[0] * size[1] // making.TOKEN_PIXELS + len(prompt) // 3
        )  # fmt: skip

    windows: Counter[tuple[int, int]] = Counter()
    for size, count in sizes.items():
        for ask in making.window_asks(0, size, checks):
            x0, y0, x1, y1 = ask.box or (0, 0, *size)
            windows[Pixels(None, ask.most_pixels).target((round(x1 - x0), round(y1 - y0)))] += count
    mean = sum(count * tokens_of(size) for size, count in windows.items()) / sizes.total()
    text = (
        f"{len(images):,} images; the windows of one take about {mean:,.0f} prompt tokens (mean of {sizes.total()}), "
        f"so all images about {mean * len(images):,.0f}; the gates come on top."
    )
    return {"tokens": round(mean), "text": text}


def _counts(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [row for line in lines for row in line["rows"] if row["question"]]
    rejected = Counter(row["rejected"] for row in rows if row["rejected"])
    sums = {name: sum(line.get(name, 0) for line in lines) for name in making.COUNTS}
    return {
        "images": len(lines), "unreadable": sum(bool(line["error"]) for line in lines), **sums, "rows": len(rows),
        "rejected": dict(rejected.most_common()), "kept": sum(not row["rejected"] for row in rows),
        **{name: next((line[name] for line in lines if line[name]), "") for name in ("error", *making.EXAMPLES)},
    }  # fmt: skip


def _truth(
    spec: str, lines: Sequence[Mapping[str, Any]], images: Sequence[Sample], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The comparison with a benchmark's own boxes, if the images are those of one that has any."""
    with suppress(BenchmarkError):
        return truth.compare(lines, images, catalogue.load(spec, defaults).samples())
    return None
