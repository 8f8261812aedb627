"""Reads a user's own data without code: a file, a folder or a data set of the Hub.

    {"id": "1", "image": "street.jpg", "question": "What does the sign say?", "answer": "STOP",
     "bbox": [810, 402, 846, 431], "bbox_format": "xyxy"}

    gapbench measure MODEL -b mine.jsonl --out runs/mine
    gapbench measure MODEL -b mine.csv:question=Frage,bbox=x+y+w+h,bbox_format=xywh --out runs/mine
    gapbench measure MODEL -b owner/name:split=test,options=choices --out runs/hub

Forms: JSONL; a JSON array of objects (also LLaVA's, with `conversations`); CSV, TSV (also VLMEvalKit's); Parquet; a
folder of Parquet shards; a folder with `metadata.jsonl`, `.csv` or `.parquet` (an image folder of the Hub, with the
column `file_name`); OWNER/NAME on the Hub (`split`, `config`, `revision`).

Fields: `image`, `question`, and `answer` or `answers` are needed; `id` (default: the line's or row's number),
`options`, `answer_type` (default: letter with options, else text), `bbox` or `bboxes` with `bbox_format`, `crop_image`,
`more_images`, `category`, `group` (samples of one group are one cluster; default: those that share an image) and
`evidence` (who drew the boxes: annotated, or model). Rows with `evidence` model need no answer, and `gapbench propose`
gives none: without one they can be trained on and not measured.

After the colon, FIELD=COLUMN names the column that holds a field:
- FIELD=COLUMN reads the field from that column. If the data has no such column, `bbox_format`, `answer_type` and
  `category` take the text as their value in all rows; for any other field this is an error.
- COLUMN+COLUMN makes a list of several columns (`bbox=x+y+w+h`, `options=A+B+C+D`, `image=left+right`).
- FIELD=- ignores a column that has the field's name.
- `list_separator` (comma, semicolon, pipe, newline, tab, or the characters themselves) separates several options or
  answers in one text. Without it, such text must be a list in JSON or Python. `separator` separates the cells of a CSV
  file.
- `orientation=upright` turns images as their EXIF orientation says; by default boxes fit the stored pixels.
- `answer_format` (letter, text, index) says how answers name options; index counts from 0.
- `urls=true` allows images at http and https addresses; `max_image_pixels` raises Pillow's limit on their size.

An image is a path (relative to the file), base64 text, bytes, a Hub image {"bytes", "path"}, or a list of these for
several images. It stays on disk until it is needed. Your own file may name any path, absolute ones too; a data set
of the Hub may name only its own files. The format of boxes is declared, never guessed.

`<image>` in a question, and letters that all options carry (`A. red`), are taken out with a warning.

Limits: UTF-8 only. A JSON array is held in memory. A column with a comma in its name cannot be named after the colon.
Other columns are ignored, unless their name looks like a misspelt field.
"""

from gapbench.data.own.places import METADATA, SUFFIXES, images, is_data, load, read

__all__ = ["METADATA", "SUFFIXES", "images", "is_data", "load", "read"]
