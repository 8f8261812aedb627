"""The embedded model: a Qwen3-VL checkpoint of 1.7M parameters whose perception gap exists by construction.

    gapbench measure glance -b signs --out runs/glance

It was trained from scratch (`scripts/glance/make.py` in the repository). Training ended after it had learned to
*recognise* small signs in a full scene, and before it had learned to *answer* from one. It serves to try gapbench on a
laptop; its numbers say nothing about other models.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "model"
"""The folder of the checkpoint."""
