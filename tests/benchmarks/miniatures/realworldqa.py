"""data/test-*.parquet in two parts, WebP, with the answer's form told in the question."""

from __future__ import annotations

from pathlib import Path

from benchmarks.miniatures._make import IMAGE, STRING, hub_image, image, write_hub_parquet

FEATURES = {"image": IMAGE, "image_path": STRING, "question": STRING, "answer": STRING}
LETTER = "Please answer directly with only the letter of the correct option and nothing else."
WORD = "Please answer directly with a single word or number."
QUESTIONS = (
    (
        "In which direction is the front wheel of the car on the right side facing?\n\n"
        f"A. Left\nB. Straight\nC. Right\n{LETTER}",
        "C",
    ),
    (f"How many cars are in front of us? {WORD}", "2"),
    (f"Is the light green?\n{WORD}", "No"),
    (f"What does the yellow sign say?\n{WORD}", "Yield"),
)


def write(folder: Path) -> None:
    rows = [
        {
            "image": hub_image(image(number), "WEBP", f"{number}.webp"),
            "image_path": f"{number}.webp",
            "question": question,
            "answer": answer,
        }
        for number, (question, answer) in enumerate(QUESTIONS)
    ]
    for part in (0, 1):
        path = folder / "data" / f"test-0000{part}-of-00002.parquet"
        write_hub_parquet(path, rows[2 * part : 2 * part + 2], FEATURES)
