"""Real annotation files, as public repositories hold them, through the catalogue's loaders and `benchmarks check`.

    git clone https://github.com/deepcs233/Visual-CoT && ...            # the repositories in SOURCES, under one folder
    python tests/peers/real_annotations.py FOLDER                       # FOLDER/OWNER+NAME/repo or FOLDER/NAME
    python tests/peers/real_annotations.py FOLDER viscot pope

Each file is brought into the form that the loader reads (of Visual-CoT it is that form already), with one blank image
per name, of the declared size where one is declared. Then `check` compares it with the card, and each sample's own
answer is scored. Prints per benchmark what was found; exit code 1 if a check found a problem.

Limits: blank images show nothing of the real ones. Sizes are declared by Visual-CoT alone; elsewhere an image is large
enough for its boxes, so that no box can leave it. The copies of InSight-o3 are rewritten by its authors. The side files
of V* with the boxes are in no public repository: its boxes here are invented.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from gapbench.commands.check import check
from gapbench.data.catalogue import load
from gapbench.data.task import TaskSettings, make_task
from gapbench.scoring import score

Rows = list[dict[str, Any]]
Repository = Callable[[str], bytes]
SMALL = (48, 32)


def blank(name: str, size: tuple[int, int] = SMALL) -> bytes:
    """A PNG of one colour, another one for each name, so that no two names are the same image."""
    image = Image.new("P", size)
    image.putpalette(hashlib.sha256(name.encode()).digest()[:3])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=1)
    return buffer.getvalue()


def write_parquet(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def lines(content: bytes) -> Rows:
    return [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]


def lettered(text: str) -> list[str]:
    """The options of `A. red\\nB. blue C. green`, whatever stands between them; also of `A red` at a line's start."""
    parts = re.split(r"(?:(?:\A|\s+)\(?([A-K])[.)]\s*)", re.sub(r"(?m)^\s*([A-K])(?= )", r"\1.", text))
    found = list(zip(parts[1::2], parts[2::2], strict=True))
    kept: list[str] = []
    for letter, option in found:  # a letter out of order belongs to the option before
        if letter == "ABCDEFGHIJK"[len(kept)]:
            kept.append(option.strip())
        else:
            kept[-1] += f" {letter}. {option.strip()}"
    return kept


# --- one function per source: writes what the loader reads ------------------------------------------------------


def viscot(read: Repository, folder: Path, subsets: Iterable[str]) -> None:
    for subset in subsets:
        for path in (f"benchmark/{subset}.json", f"benchmark_det/{subset}.jsonl"):
            target = folder / "viscot_benchmark" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read(f"viscot_benchmark/{path}"))
        for row in lines(target.read_bytes()):
            image = folder / "playground" / "data" / row["img_path"]
            if not image.exists():
                image.parent.mkdir(parents=True, exist_ok=True)
                image.write_bytes(blank(row["img_path"], (row["width"], row["height"])))


def pope(read: Repository, folder: Path) -> None:
    rows = [
        {"question_id": str(row["question_id"]), "question": row["text"], "answer": row["label"],
         "image_source": row["image"].removesuffix(".jpg"), "image": {"bytes": blank(row["image"]), "path": None},
         "category": category}
        for category in ("adversarial", "popular", "random")
        for row in lines(read(f"output/coco/coco_pope_{category}.json"))
    ]  # fmt: skip
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)


def hrbench(read: Repository, folder: Path) -> None:
    rows: Rows = []
    for row in lines(read("data/HR-Bench/hrbench_4k.jsonl")):
        options = dict(zip("ABCD", lettered(row["options"]), strict=True))
        image = base64.b64encode(blank(f"{row['question_id'] // 4}")).decode()  # four orders share an image
        rows.append({"index": row["question_id"], **{k: row[k] for k in ("question", "answer", "category")},
                     **options, "cycle_category": row["question_id"] % 4, "image": image})  # fmt: skip
    write_parquet(folder / "hr_bench_4k.parquet", rows)


def mme_lite(read: Repository, folder: Path) -> None:
    rows: Rows = []
    for number, row in enumerate(lines(read("data/MME-RealWorld-Lite/MME_RealWorld_Lite.jsonl"))):
        choices = re.split(r"\n(?=\([A-E]\))", row["options"])
        rows.append({"index": number, "bytes": base64.b64encode(blank(row["image"])).decode(),
                     "question": row["question"], "multi-choice options": choices, "answer": row["answer"],
                     "category": "/".join(row["question_id"].split("/")[:2]), "l2-category": ""})  # fmt: skip
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", rows)


def treebench(read: Repository, folder: Path) -> None:
    header = ["index", "image", "question", "multi-choice options", "answer", "category", "target_instances",
              *"ABCDEFGHIJK"]  # fmt: skip
    rows = [header]
    for row in lines(read("data/TreeBench/treebench.jsonl")):
        boxes = ast.literal_eval(row["target_instances"])
        size = (int(max(b[2] for b in boxes)) + 2, int(max(b[3] for b in boxes)) + 2)
        options = lettered(row["options"])
        rows.append([str(row["question_id"]), base64.b64encode(blank(row["image"], size)).decode(), row["question"],
                     row["options"], row["answer"], row["category"], row["target_instances"],
                     *options, *[""] * (11 - len(options))])  # fmt: skip
    quoted = ["\t".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    (folder / "TreeBench.tsv").write_text("\n".join(quoted), encoding="utf-8")


def visualprobe(read: Repository, folder: Path) -> None:
    for level in ("Easy", "Medium", "Hard"):  # only Hard is real; the loader asks for all three folders
        rows = lines(read("data/VisualProbe_Hard/visual_probe_hard.jsonl"))
        place = folder / f"VisualProbe_{level}" / "data"
        place.mkdir(parents=True)
        for row in rows:
            (place / Path(row["image"]).name).write_bytes(blank(f"{level} {row['image']}"))
        content = [{"images": [row["image"]], "doc_id": row["question_id"], "problem": f"<image>\n{row['question']}",
                    "solution": row["answer"]} for row in rows]  # fmt: skip
        (place.parent / "val.json").write_text(json.dumps(content[: None if level == "Hard" else 1]), encoding="utf-8")


def vstar(read: Repository, folder: Path) -> None:
    questions: Rows = []
    for row in lines(read("data/vstar_bench/vstar_bench.jsonl")):
        image = folder / row["image"]
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(blank(row["image"], (300, 300)))
        image.with_suffix(".json").write_text('{"bbox": [[10, 10, 20, 20]]}')
        text = f"{row['question']}\n{row['options']}\nAnswer with the option's letter from the given choices directly."
        questions.append({"image": row["image"], "text": text, "category": row["category"], "label": row["answer"],
                          "question_id": row["question_id"]})  # fmt: skip
    (folder / "test_questions.jsonl").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")


def mmstar(read: Repository, folder: Path) -> None:
    rows = [
        {"index": int(row["index"]), "question": row["question"], "image": blank(f"mmstar {row['index']}"),
         "answer": row["answer"], "category": row["category"], "l2_category": row["l2_category"]}
        for row in table_of(read("eval/submits/llava_next_yi_34b_MMStar.xlsx"))
    ]  # fmt: skip
    write_parquet(folder / "mmstar.parquet", rows)


def table_of(workbook: bytes) -> Rows:
    """The first sheet of an .xlsx file: one mapping per row, without empty cells."""
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        shared = []
        if "xl/sharedStrings.xml" in archive.namelist():
            root = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))  # noqa: S314 - files of known commits
            shared = ["".join(t.text or "" for t in item.iter(f"{space}t")) for item in root.iter(f"{space}si")]
        sheet = ElementTree.fromstring(archive.read("xl/worksheets/sheet1.xml"))  # noqa: S314
    rows = []
    for row in sheet.iter(f"{space}row"):
        cells = {}
        for cell in row.iter(f"{space}c"):
            text = "".join(t.text or "" for t in [*cell.iter(f"{space}v"), *cell.iter(f"{space}t")])
            if text:
                column = re.sub(r"\d", "", cell.get("r", ""))
                cells[column] = shared[int(text)] if cell.get("t") == "s" else text
        rows.append(cells)
    header = rows[0]
    return [{header[column]: value for column, value in row.items()} for row in rows[1:]]


HEADLINE = ("docvqa", "infographicsvqa", "textvqa", "textcap", "dude", "sroie")
OTHERS = ("gqa", "flickr30k", "openimages", "cub", "vsr", "visual7w", "emotic")
INSIGHT = "m-Just/InSight-o3"
SOURCES: Mapping[str, tuple[str, str, Callable[[Repository, Path], None]]] = {
    "viscot": ("viscot", "deepcs233/Visual-CoT", lambda read, folder: viscot(read, folder, HEADLINE)),
    "viscot, the seven others": (f"viscot:subsets={'+'.join(OTHERS)}", "deepcs233/Visual-CoT",
                                 lambda read, folder: viscot(read, folder, OTHERS)),
    "pope": ("pope", "AoiDragon/POPE", pope),
    "hrbench_4k": ("hrbench_4k", INSIGHT, hrbench),
    "mme_realworld_lite": ("mme_realworld_lite", INSIGHT, mme_lite),
    "treebench": ("treebench", INSIGHT, treebench),
    "treebench_ocr": ("treebench_ocr", INSIGHT, treebench),
    "treebench_reasoning": ("treebench_reasoning", INSIGHT, treebench),
    "visualprobe": ("visualprobe", INSIGHT, visualprobe),
    "vstar": ("vstar", INSIGHT, vstar),
    "mmstar": ("mmstar", "MMStar-Benchmark/MMStar", mmstar),
}  # fmt: skip
"""By name: the benchmark, the repository, and the function that writes the loader's files."""


def repository(clones: Path, name: str) -> tuple[Repository, str]:
    """A function that reads a file at HEAD, and the commit."""
    places = (clones / name.replace("/", "+") / "repo", clones / name.partition("/")[2])
    place = next((p for p in places if p.is_dir()), None)
    if place is None:
        raise SystemExit(f"{clones}: no clone of {name}. Expected it in {places[1]}.")
    git = ["git", f"--git-dir={place / '.git' if (place / '.git').is_dir() else place}"]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True, text=True).stdout.strip()
    return lambda path: subprocess.run([*git, "show", f"HEAD:{path}"], capture_output=True, check=True).stdout, commit


def own_answers(samples: Iterable[Any]) -> Counter[str]:
    """How each sample's own first answer is scored."""
    outcomes = Counter[str]()
    for s in samples:
        outcome = score(s.answers[0], s.answers, s.answer_type, s.options, s.question)
        outcomes[outcome.outcome if outcome.score in (0, 1) else "part"] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clones", type=Path)
    parser.add_argument("names", nargs="*", default=list(SOURCES))
    arguments = parser.parse_args()
    worst = 0
    open_repository = cache(lambda name: repository(arguments.clones, name))
    for name in arguments.names:
        spec, source, write = SOURCES[name]
        read, commit = open_repository(source)
        with tempfile.TemporaryDirectory() as folder:
            write(read, Path(folder))
            target, colon, parameters = spec.partition(":")
            task = make_task(load(f"{target}={folder}{colon}{parameters}"), TaskSettings())
            findings = check(task)
        print(f"\n== {name}: {source} @ {commit[:7]}\n{findings.text()}")
        print(f"{'own answers':24} {dict(own_answers(task.samples))}", flush=True)
        worst |= bool(findings.problems)
    return worst


if __name__ == "__main__":
    sys.exit(main())
