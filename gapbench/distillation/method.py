"""The published methods that a recipe consists of, and what it does in words, for the model card.

    methods(recipes.load("opd-aha"))        # ("vision-opd", "opd-aha")
    in_words(recipes.load("opd-aha"))       # "Trained with gapbench by on-policy self-distillation (Vision-OPD, …"

Limits: a method is told by the settings that make it one. Other settings may differ from what was published.
"""

from __future__ import annotations

from gapbench.distillation.recipe import Recipe

TITLES = {
    "vision-opd": "Vision-OPD", "s2vopd": "S2VOPD", "opd-aha": "OPD-Aha's target", "hard-labels": "hard labels",
    "v-zero": "V-Zero's weights",
}  # fmt: skip
"""Of methods, by their tags on a model card."""
IMAGES = {"full": "the full image", "crop": "the evidence crop", "boxed": "the full image with a red box"}


def methods(recipe: Recipe) -> tuple[str, ...]:
    """Tags: of the views, the target and the weights."""
    student, teacher, *_ = recipe.views
    of_views = "s2vopd" if (student.kind, teacher.kind) == ("degraded", "full") else "vision-opd"
    of_target = {"tilt": ("opd-aha",), "hard": ("hard-labels",)}.get(recipe.target, ())
    return (of_views, *of_target, *(("v-zero",) if recipe.weights == "evidence" else ()))


def source(recipe: Recipe) -> str:
    """What the model was distilled from: `its own evidence crops`."""
    if recipe.teacher == "model":
        return recipe.teacher_model
    views = {"crop": "evidence crops", "full": "clean images"}
    return f"its own {views.get(recipe.teacher_view, f'view {recipe.teacher_view}')}"


def in_words(recipe: Recipe) -> str:
    """Sentences: who sees what, and how target and weights are made."""
    student, teacher = (IMAGES.get(view.name, f"the view {view.name}") for view in recipe.views[:2])
    null = "its image's mean colour" if recipe.null_view == "blank" else f"the view {recipe.null_view}"
    kind = "distillation" if recipe.teacher == "model" else "self-distillation"
    sentences = [
        f"Trained with gapbench by on-policy {kind} ({', '.join(TITLES[tag] for tag in methods(recipe))}): the "
        f"student sees {student}, the teacher {teacher}, and no reference answer is used."
    ]
    tilted = f", tilted by {recipe.tilt:g} away from what it says of {null}" if recipe.tilts else ""
    if recipe.target != "teacher":
        what = "the teacher" if recipe.target == "tilt" else "the likeliest token of the teacher"
        sentences.append(f"The target is {what}{tilted}.")
    if recipe.weights == "evidence":
        sentences.append(
            f"Of the answers to one prompt, those that the teacher finds likelier than it does from {null} count more."
        )
    return " ".join(sentences)
