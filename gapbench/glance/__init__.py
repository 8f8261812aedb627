"""The embedded model: a two-million-parameter Qwen3-VL checkpoint whose perception gap exists by construction.

    gapbench measure glance -b signs --out runs/glance

It was trained from scratch (`scripts/glance/make.py` in the repository) to *recognise* small signs in a full scene, and
its training ended before it had learned to *answer* from one. So the whole instrument can be tried on a laptop. Its
numbers stand for nothing but the instrument.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "model"
