"""A user's own data with no code: a file, a folder or a data set of the Hub, with a word on which column holds what.

    {"id": "1", "image": "street.jpg", "question": "What does the sign say?", "answer": "STOP",
     "bbox": [810, 402, 846, 431], "bbox_format": "xyxy"}

    gapbench measure MODEL -b mine.jsonl --out runs/mine
    gapbench measure MODEL -b mine.csv:question=Frage,bbox=x+y+w+h,bbox_format=xywh --out runs/mine
    gapbench measure MODEL -b owner/name:split=test,options=choices --out runs/hub

Forms: JSONL; CSV, TSV; Parquet; a folder of Parquet shards; a folder with `metadata.jsonl`, `.csv` or `.parquet` (the
Hub's image folders: `file_name`); OWNER/NAME on the Hub (`split`, `config`, `revision`).

Fields: `image`, `question`, and `answer` or `answers` are needed; `id` (default: the line's or row's number),
`options`, `answer_type` (default: letter with options, else text), `bbox` or `bboxes` with `bbox_format`, `crop_image`,
`more_images`, `category` and `group` (samples of one group are one cluster; default: those that share an image).

Behind the colon, FIELD=COLUMN says which column holds a field:
- A value that is a column of the data is that column. Otherwise `bbox_format`, `answer_type` and `category` take it as
  the value itself, for all rows; for any other field it is an error.
- COLUMN+COLUMN makes a list of several columns (`bbox=x+y+w+h`, `options=A+B+C+D`, `image=left+right`).
- `-` leaves a field out, although a column has its name.
- `list_separator` (comma, semicolon, pipe, newline, tab, or the characters themselves) says how text holds several
  options or answers; without it, text must be a list in JSON or Python. `separator` is that of a CSV file's cells.
- `urls=true` allows images from http and https addresses; `max_image_pixels` allows larger ones than Pillow does.

An image is a path (relative to the file), base64 text, bytes, a Hub image {"bytes", "path"}, or a list of these, which
are several images in their order. It stays on disk until it is looked at. Boxes are never guessed: their format is
declared.

Limits: UTF-8 only; names of columns with a comma cannot be written behind the colon; other columns are ignored, unless
one looks like a misspelt name from above.
"""

from gapbench.data.own.places import SUFFIXES, is_data, load, read

__all__ = ["SUFFIXES", "is_data", "load", "read"]
