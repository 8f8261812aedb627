"""Finds and loads models: a Hub id, a local folder, or `glance`. Auto classes only, no code per model family.

    loaded = load("Qwen/Qwen3-VL-4B-Instruct", dtype="auto", device="auto")

Weights are read from safetensors only; code that ships with a model runs only if the user allows it
(`trust_remote_code`). `identity` says which weights these were, by commit or by content.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapbench import glance
from gapbench.errors import ModelError, SettingError

EMBEDDED = {"glance": glance.FOLDER}
DTYPES = ("auto", "float32", "bfloat16", "float16")
_HASHED_WHOLE = 1 << 28  # larger weight files count by size and their first and last mebibyte


@dataclass(frozen=True)
class Loaded:
    """A model ready to generate, with its processor and what identifies it."""

    name: str
    model: Any
    processor: Any
    device: str
    dtype: str
    identity: Mapping[str, str] = field(default_factory=dict)


def resolve(name: str) -> str:
    """The folder or Hub id that the Auto classes take. Raises ModelError with the nearest names."""
    if name in EMBEDDED:
        return str(EMBEDDED[name])
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"Model folder {name}: no config.json in it. Expected a folder written by save_pretrained."
            )
        return str(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    near = difflib.get_close_matches(name, EMBEDDED, n=1, cutoff=0.4)
    raise ModelError(
        f"Model {name!r}: not found. {f'Did you mean {near[0]}? ' if near else ''}"
        "Expected a Hub id (owner/name), a local folder, or the embedded model `glance`."
    )


def identity(source: str, revision: str | None, model: Any = None) -> dict[str, str]:
    """`revision` (the Hub's commit) or `sha256` (of a local folder's configuration and weights)."""
    folder = Path(source)
    if not folder.is_dir():
        commit = getattr(getattr(model, "config", None), "_commit_hash", None)
        return {"revision": str(commit or revision or "unknown")}
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*.jinja")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if size <= _HASHED_WHOLE:
                digest.update(file.read())
            else:
                digest.update(file.read(1 << 20))
                file.seek(-(1 << 20), 2)
                digest.update(file.read())
    return {"sha256": digest.hexdigest()[:32]}


def benchmark_defaults(name: str, engine: str = "transformers") -> dict[str, dict[str, Any]]:
    """A local model's own wishes for benchmark parameters (`gapbench.json`), such as small scenes for `glance`.

    Raises ModelError as `resolve` does, unless the engine is a server, which may call its model anything.
    """
    try:
        path = Path(resolve(name)) / "gapbench.json"
    except ModelError:
        if engine != "server":
            raise
        return {}
    if not path.is_file():
        return {}
    try:
        wishes = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
        return {str(k): dict(v) for k, v in wishes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f'{path}: expected {{"benchmarks": {{NAME: {{parameter: value}}}}}}; {error!r}.') from error


def load(
    name: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    chat_template: Path | None = None,
    attn_implementation: str | None = None,
) -> Loaded:
    """Load a model and its processor.

    `dtype` auto: as published on an accelerator, float32 on a CPU. `device` auto: the accelerator if there is one
    (several are shared by layers), else the CPU. Raises ModelError or SettingError naming the setting and the remedy.
    """
    if dtype not in DTYPES:
        raise SettingError(f"--dtype {dtype}: expected one of {', '.join(DTYPES)}.")
    source = resolve(name)
    from gapbench.util.torchvision_repair import repair

    repair()
    import torch
    import transformers

    where = _device(device)
    kind: Any = dtype if dtype != "auto" else ("float32" if where == "cpu" else "auto")
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    many = where == "cuda" and device == "auto" and torch.cuda.device_count() > 1
    placing: dict[str, Any] = {"device_map": "auto"} if many else {}
    if attn_implementation:
        placing["attn_implementation"] = attn_implementation
    try:
        auto = _auto_class(transformers, source, options)  # first: a Hub out of reach is noticed at one small file
        with _no_bars(transformers):
            processor = transformers.AutoProcessor.from_pretrained(source, **options)
            model = auto.from_pretrained(source, dtype=kind, use_safetensors=True, **placing, **options)
    except Exception as error:
        raise ModelError(load_error(name, error)) from error
    if not hasattr(processor, "tokenizer") or getattr(processor, "image_processor", None) is None:
        raise ModelError(
            f"Model {name}: its processor ({type(processor).__name__}) reads no images. Name a multimodal model."
        )
    if chat_template is not None:
        processor.chat_template = chat_template.read_text(encoding="utf-8")
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    if not many:
        model = model.to(where)
    model.eval()
    return Loaded(
        name, model, processor, where, str(next(model.parameters()).dtype).removeprefix("torch."),
        identity(source, revision, model),
    )  # fmt: skip


def _auto_class(transformers: Any, source: str, options: Mapping[str, Any]) -> Any:
    """AutoModelForMultimodalLM where it knows the model type, else AutoModelForImageTextToText."""
    config = transformers.AutoConfig.from_pretrained(source, **options)
    for auto in ("AutoModelForMultimodalLM", "AutoModelForImageTextToText"):
        found = getattr(transformers, auto, None)
        remote = options["trust_remote_code"] and auto in (getattr(config, "auto_map", None) or {})
        if found is not None and (remote or type(config) in found._model_mapping):
            return found
    raise ModelError(
        f"model type {config.model_type!r} is not an image-text-to-text model known to transformers "
        f"{transformers.__version__}. Upgrade transformers, or pass --trust-remote-code if it brings its own code."
    )


@contextmanager
def _no_bars(transformers: Any) -> Iterator[None]:
    """transformers' bars hidden, which hides the Hub's, too; these come back, for later fetches are to show them."""
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

    hidden = are_progress_bars_disabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if not hidden:
            enable_progress_bars()


def _device(device: str) -> str:
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SettingError(f"--device {device}: expected auto, cpu, cuda, cuda:N or mps.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise SettingError(
            f"--device {device}: this torch ({torch.__version__}) sees no CUDA device. Use --device cpu."
        )
    return device


def load_error(name: str, error: Exception) -> str:
    """What to tell the user about a model that transformers cannot load."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, ModelError):
        return f"Model {name}: {error}"
    if "safetensors" in str(error) and "pytorch_model" in str(error):
        return f"Model {name}: it has no safetensors weights, and pickles are not loaded. Convert them first. ({text})"
    if "trust_remote_code" in str(error):
        return (
            f"Model {name}: it brings its own code, which is not run unasked. Read it, then pass --trust-remote-code."
        )
    offline = ("couldn't connect", "offline", "ConnectionError", "LocalEntryNotFound", "Connection error", "resolve")
    if any(word.lower() in (str(error) + type(error).__name__).lower() for word in offline):
        return (
            f"Model {name}: not in the local cache, and the Hugging Face Hub could not be reached. Check the name, the "
            f"network and HF_HUB_OFFLINE; or give a local folder, or `glance`. ({text})"
        )
    return (
        f"Model {name}: cannot be loaded ({type(error).__name__}: {text}). Check its name, --revision and your access."
    )
