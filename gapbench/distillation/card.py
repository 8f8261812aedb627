"""The model card of a trained model: its base model, the recipe, and the measurements before and after.

write_card(folder / "model", details, recipe, comparison_summary)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gapbench.analysis.aggregate import by_evidence
from gapbench.analysis.comparison.training_log import contamination_sentences
from gapbench.data.region_file import origin_of
from gapbench.distillation import recipe as recipes
from gapbench.distillation.method import in_words, methods, source
from gapbench.distillation.resume import changed_in_words
from gapbench.util.files import write_text
from gapbench.views.prompts import NEUTRAL


def write_card(
    folder: Path, details: Mapping[str, Any], recipe: recipes.Recipe, summary: Mapping[str, Any] | None
) -> None:
    """Write `README.md` into the model folder. `details` is the content of `distill.json`."""
    base = str(details["model"])
    tags = ", ".join(["gapbench", "on-policy-distillation", *methods(recipe)])
    head = ["---", "library_name: transformers", "pipeline_tag: image-text-to-text", f"tags: [{tags}]"]
    head += [f"base_model: {base}"] if "revision" in details else []  # a local folder means nothing to others
    teacher = f"teacher `{recipe.teacher}`" + (f" ({recipe.ema_rate:g} per step)" if recipe.teacher == "ema" else "")
    text = [
        *head, "---", "", f"# {_plain(base)}, distilled from {_plain(source(recipe))}", "",
        _plain(in_words(recipe)), "",
        f"- data: `{_plain(str(details['data']['name']))}`, {details['data']['samples']} samples"
        f"{_evidence(details, recipe)}, prompts of the protocol "
        f"`{_plain(str(details['data'].get('protocol', NEUTRAL)))}`{_left_out(details)}",
        f"- {recipe.steps} steps of {recipe.prompts_per_step} prompts x {recipe.rollouts_per_prompt} rollouts, "
        f"learning rate {recipe.learning_rate:g}, {recipe.divergence}, {teacher}, anchor share "
        f"{recipe.anchor_share:g}, {'LoRA (merged)' if recipe.lora else 'all weights'}",
        *_chosen(details),
        *(f"- {_plain(line)}" for line in contamination_sentences(details.get("contamination", {})).values()),
        f"- command: `{_plain(str(details.get('command', '')))}`",
        *(f"- changed after step {session['after_step']}: {_plain(changed_in_words(session))}"
          for session in details.get("sessions", ()) if session.get("changed")),
        *(f"- note: {_plain(text)}" for text in details.get("remarks", ())), "",
    ]  # fmt: skip
    if summary is not None:
        text += ["## Measured before and after", "", _plain(str(summary["verdict"])), ""]
        headings: tuple[list[str], ...] = ([], ["From regions that a model made:", ""])
        for entries, heading in zip(by_evidence(summary["benchmarks"]), headings, strict=True):
            text += [*heading, *_table(entries), ""] if entries else []
    text += ["## Recipe", "", *(f"    {line}" for line in recipes.dump(recipe).splitlines()), ""]
    write_text(folder / "README.md", "\n".join(text))


def _chosen(details: Mapping[str, Any]) -> list[str]:
    """Which step these weights are of, and by what they were chosen."""
    training = details.get("training", {})
    found = training.get("validation")
    if not found:
        return []
    by, value, read = {
        "divergence": ("the lowest held-out divergence", "validation_divergence", "no reference answer was read"),
        "answers": ("the highest held-out accuracy", "validation_accuracy", "their reference answers were read"),
    }[found["by"]]
    line = (
        f"- checkpoint: step {found['step']} of {training['steps']}, {by} ({found['chosen'][value]:.3g}; "
        f"{found['before'][value]:.3g} before training) on {found['samples']} training samples of images that were not "
        f"trained on; {read}"
    )
    return [line, *([f"- note: {_plain(found['remark'])}"] if found["remark"] else [])]


def _evidence(details: Mapping[str, Any], recipe: recipes.Recipe) -> str:
    """Who drew the boxes of the training data, if they are used."""
    regions = details.get("regions")
    if not any(view.needs_region for view in recipe.views):
        return ", of which no evidence box is used"
    if not regions:
        made = " with questions and evidence boxes that a model proposed, none of them annotated"
        return made if "proposed" in details else " with evidence"
    origin = origin_of(regions)
    return (
        f" with evidence boxes that a model located{f' ({_plain(origin)})' if origin else ''}, none of them annotated"
    )


def _left_out(details: Mapping[str, Any]) -> str:
    """The samples that were not trained on, and why, as the rest of a sentence."""
    contamination = details.get("contamination", {})
    dropped = len(contamination.get("shared", ())) if contamination.get("policy") == "drop" else 0
    counts = {
        "without evidence": details["data"].get("without_evidence", 0),
        "whose image is also in the evaluation": dropped,
        "that could not be shown": len(details.get("skipped", ())),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f"; left out: {', '.join(parts)}" if parts else ""


def _table(entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = ["| benchmark | measure | before | after | change [95 %] |", "|---|---|---|---|---|"]
    for name, bench in entries.items():
        for measure in ("full", "crop", "gap", "lost_in_full"):
            title = measure.replace("_", " ")
            cells = [(bench.get(side) or {}).get(measure) or {} for side in ("before", "after", "delta")]
            if all(cell.get("estimate") is not None for cell in cells):
                before, after, delta = cells
                interval = f" [{100 * delta['ci'][0]:+.1f}, {100 * delta['ci'][1]:+.1f}]" if delta["ci"] else ""
                rows.append(
                    f"| {_plain(name)} | {title} | {100 * before['estimate']:.1f} | {100 * after['estimate']:.1f} | "
                    f"{100 * delta['estimate']:+.1f}{interval} |"
                )
    return rows


def _plain(text: str) -> str:
    """Text from outside, escaped: it can end neither a line nor a table cell, and cannot open HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
