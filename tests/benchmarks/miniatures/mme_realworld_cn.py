"""data/train-*.parquet in two parts, with full-width brackets around some letters."""

from pathlib import Path

from benchmarks.miniatures._make import image, text_of
from benchmarks.miniatures._mme_realworld import row, write_parts

WIDE = ["（A）红色", "（B）蓝色", "（C）绿色", "（D）白色", "（E）图中没有该物体"]  # noqa: RUF001
PLAIN = ["(A) 一", "(B) 二", "(C) 三", "(D) 四", "(E) 图中没有该物体"]


def write(folder: Path) -> None:
    write_parts(
        folder,
        [row(0, text_of(image(1)), "汽车是什么颜色?", WIDE, "B", "Perception/Monitoring")],
        [row(1, text_of(image(2)), "有多少人?", PLAIN, "E", "Reasoning/Diagram and Table")],
    )
