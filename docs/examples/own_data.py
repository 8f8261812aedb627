"""From an empty folder to a board: twenty images of your own, a JSONL that names them, two models.

    python own_data.py glance Qwen/Qwen3-VL-2B-Instruct --out own

It draws the images, so that it runs anywhere; put your own in their place. The tests run it with two small models.
`glance` knows nothing but its own drawn signs: it shows that everything runs, and its answers here are unparsed.
"""

import argparse
import json
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import gapbench

WORDS = ["STOP", "EXIT", "OPEN", "TAXI"]


def draw(file: Path, word: str, dice: random.Random) -> list[int]:
    """Draw a street of grey walls with one small sign. Returns its box: left, top, right, bottom in pixels."""
    image = Image.new("RGB", (1280, 960), "lightsteelblue")
    pencil = ImageDraw.Draw(image)
    for x in range(0, 1280, 160):
        shade = dice.randint(90, 200)
        pencil.rectangle((x, dice.randint(200, 500), x + 150, 960), fill=(shade, shade, shade - 20))
    left, top = dice.randint(20, 1200), dice.randint(520, 900)
    box = [left, top, left + 48, top + 20]
    pencil.rectangle(box, fill="white", outline="black")
    pencil.text((left + 24, top + 10), word, fill="black", anchor="mm", font=ImageFont.load_default(14))
    image.save(file)
    return box


def write_data(folder: Path, images: int = 20) -> Path:
    """Write the images and `mine.jsonl`, one line a question."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(0)
    rows = []
    for number in range(images):
        word = dice.choice(WORDS)
        box = draw(folder / f"street-{number}.png", word, dice)
        rows.append(
            {
                "id": f"street-{number}",
                "image": f"street-{number}.png",
                "question": "What does the small sign say?",
                "options": WORDS,
                "answer": word,
                "bbox": box,
                "bbox_format": "xyxy",
                "category": "ocr",
            }
        )
    data = folder / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="Hub ids, folders, or glance")
    parser.add_argument("--out", type=Path, default=Path("own"))
    arguments = parser.parse_args()

    data = write_data(arguments.out / "data")
    for number, model in enumerate(arguments.models):
        run = gapbench.measure(model, str(data), out=arguments.out / "runs" / str(number))
        print(run.summary["verdict"])
    board = gapbench.board([arguments.out / "runs"], out=arguments.out / "board")
    print(board.frame()[["run", "benchmark", "full", "crop", "gap"]])
    print(board.report)


if __name__ == "__main__":
    main()
