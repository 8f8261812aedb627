"""Three data sets beside each other; val.json is a list in two and one object a line in the third."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.miniatures._make import encoded, image

QUESTIONS = {
    "Easy": (("What colour is the boat?", "Blue."), ("Is the sign round?", "Yes.")),
    "Medium": (("What does the sign say?", "Stop and go."), ("How many windows are open?", "3.")),
    "Hard": (("What is on the roof?", "Chimney."),),
}


def write(folder: Path) -> None:
    for place, (level, questions) in enumerate(QUESTIONS.items()):
        name = f"VisualProbe_{level}"
        (folder / name / "data").mkdir(parents=True)
        rows = []
        for number, (question, answer) in enumerate(questions):
            (folder / name / "data" / f"{number}.jpg").write_bytes(encoded(image(10 * place + number)))
            rows.append(
                {
                    "images": [f"{name}/data/{number}.jpg"],
                    "doc_id": number,
                    "problem": f"<image>\n{question}",
                    "solution": answer,
                    "data_source": name,
                }
            )
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name / "val.json").write_text(lines if level == "Medium" else json.dumps(rows), encoding="utf-8")
