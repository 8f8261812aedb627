"""Questions.csv and the folder "MMVP Images", with images whose names sort otherwise than their numbers."""

from pathlib import Path

from benchmarks.miniatures._make import encoded, image

LINES = """Index,Question,Options,Correct Answer
1,Are the butterfly's wings closer to being open or closed?,(a) Open (b) Closed,(a)
2,Are the butterfly's wings closer to being open or closed?,(a) Open (b) Closed,(b)
9,"Is the dog, seen from here, on the left?",(a) Yes  (b) No,(a)
10,"Is the dog, seen from here, on the left?",(a) Yes  (b) No,(b)
99,Does the elephant have long or short tusks?,(a) Long (b) Short,(a)
100,Does the elephant have long or short tusks?,(a) Long (b) Short,(b)
279,Is the elderly person standing or sitting in the image?,(a) Standing (b) Sitting,(a)
280,Is the elderly person standing or sitting in the image?,(a) Standing (b) Sitting,(b)
"""


def write(folder: Path) -> None:
    (folder / "Questions.csv").write_text(LINES, encoding="utf-8")
    (folder / "MMVP Images").mkdir()
    for number in (1, 2, 9, 10, 99, 100, 279, 280):
        (folder / "MMVP Images" / f"{number}.jpg").write_bytes(encoded(image(number)))
