"""mmstar.parquet: raw bytes, options inside the question in two forms and in none, and nan where there is no option."""

from pathlib import Path

from benchmarks.miniatures._make import encoded, image, write_plain_parquet

QUESTIONS = (
    (
        "Which option describe the object relationship in the image correctly?\nOptions: A: The suitcase is on the "
        "book., B: The suitcase is beneath the cat., C: The suitcase is beneath the bed., D: The suitcase is beneath "
        "the book.",
        "coarse perception",
        "image scene and topic",
    ),
    (
        "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.\n"
        "Question: How long is BC?\nChoices:\n(A) 3\n(B) 4\n(C) 5\n(D) 6",
        "math",
        "geometry",
    ),
    ("Which of A, B, C and D in the image is the plug?", "science & technology", "biology & chemistry & physics"),
    ("Is it day?\nOptions: A: Yes, B: No", "logical reasoning", "common reasoning"),
    ("Are they alike?\nOptions: A: Yes, in size, B: No, C: nan, D: nan", "instance reasoning", "attribute"),
    ("How many dogs are there?\nOptions: A: nan, B: Two, C: One, D: Three", "fine-grained perception", "counting"),
    ("How many cats?\nOptions: A:1, B:2, C: 3, D:4", "fine-grained perception", "counting"),
)


def write(folder: Path) -> None:
    rows = [
        {
            "index": number,
            "question": question,
            "image": encoded(image(number)),
            "answer": "ABDABAC"[number],
            "category": category,
            "l2_category": finer,
            "meta_info": {"source": "MMBench", "split": "val", "image_path": f"images/{number}.jpg"},
        }
        for number, (question, category, finer) in enumerate(QUESTIONS)
    ]
    write_plain_parquet(folder / "mmstar.parquet", rows)
