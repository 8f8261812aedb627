"""Find and load models: a Hub id, a local folder, or `glance`. Auto classes only, no code per model family.

    loaded = load("Qwen/Qwen3-VL-4B-Instruct", dtype="auto", device="auto")

Weights are read from safetensors only. Code that ships with a model runs only if the user allows it
(`trust_remote_code`). `identity` identifies the weights by commit or by content.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel

from gapbench import glance
from gapbench.engines import options
from gapbench.engines.options import FROZEN, Flag
from gapbench.errors import ModelError, SettingError
from gapbench.util.text import first_line, listed, redacted

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
HUB_SECONDS = 10.0
"""The time limit for the list of a Hub model's files."""
AUTO_CLASSES = ("AutoModelForMultimodalLM", "AutoModelForImageTextToText")
OTHER_ENGINES = (
    "Models that transformers' generic code cannot run often run in vLLM: --engine vllm, or serve the model and "
    "measure it with --engine server."
)
EMBEDDED = {"glance": glance.FOLDER}
_HASHED_FULLY = 1 << 28  # of larger weight files, only the size and the first and last mebibyte are hashed


class ModelOptions(BaseModel):
    """How a model is loaded. The options of the engine `transformers` begin with these."""

    model_config = FROZEN

    dtype: options.Dtype = "auto"
    device: Annotated[str, Flag("auto, cpu, cuda, cuda:N or mps", kept="elsewhere")] = "auto"
    revision: options.Revision = None
    trust_remote_code: options.TrustRemoteCode = False
    chat_template: options.ChatTemplate = None
    chat_template_kwargs: options.ChatTemplateKwargs = {}
    processor_kwargs: options.ProcessorKwargs = {}
    max_model_len: options.MaxModelLen = None
    reasoning_tags: options.ReasoningTags = ()
    attn_implementation: Annotated[
        str | None, Flag("eager, sdpa, flash_attention_2, …; default: transformers' choice", kept="elsewhere")
    ] = None


@dataclass(frozen=True)
class Loaded:
    """A model ready to generate, with its processor and the identity of its weights."""

    name: str
    model: Any
    processor: Any
    device: str
    dtype: str
    identity: Mapping[str, str] = field(default_factory=dict)


def resolve(name: str) -> str:
    """The folder or Hub id to pass to the Auto classes. Raises ModelError, with the nearest name."""
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


def local_folder(name: str) -> Path | None:
    """The folder with a model's files on this machine; None if it has none. Asks no network."""
    try:
        return _folder_of(resolve(name))
    except (ModelError, ValueError):  # a name that only the server knows
        return None


def _folder_of(source: str, revision: str | None = None) -> Path | None:
    """The model's folder, or that of a Hub model's revision in the cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        return Path(source)
    cached = try_to_load_from_cache(source, "config.json", revision=revision)
    return Path(cached).parent if isinstance(cached, str) else None


def has_weights(source: str, revision: str | None = None) -> bool:
    """Whether all safetensors of a folder, or of a Hub model's revision, are on this machine. Asks no network."""
    folder = _folder_of(source, revision) or Path(source)
    for index in folder.glob("*.safetensors.index.json"):
        with suppress(OSError, ValueError, KeyError, AttributeError):
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            return all((folder / name).is_file() for name in names)
    return any(folder.glob("*.safetensors"))


def refuse_pickles(name: str, source: str, revision: str | None = None) -> None:
    """Raise ModelError for a model whose only weights are pickles, which may run code. Loads nothing.

    The files of a Hub model are those in the cache or, if none of these is safetensors, those that the Hub lists.
    """
    from huggingface_hub import HfApi

    names = set[str]()
    with suppress(Exception):  # loading will say why the Hub has no answer
        folder = _folder_of(source, revision)
        names = {path.name for path in folder.iterdir()} if folder else set()
        if not Path(source).is_dir() and not any(file.endswith(".safetensors") for file in names):
            siblings = HfApi().model_info(source, revision=revision, timeout=HUB_SECONDS).siblings
            names |= {file.rfilename for file in siblings or ()}
    pickles = sorted(file for file in names if file.endswith(PICKLES))
    if pickles and not any(file.endswith(".safetensors") for file in names):
        raise ModelError(
            f"Model {name}: its only weights are pickles ({listed(pickles)}), which may run code and are not loaded. "
            "Expected safetensors: convert them with save_pretrained(FOLDER), and name that folder. (vLLM reads "
            "pickles that you trust with --engine-args load_format=auto.)"
        )


def identity(source: str, revision: str | None, config: Any = None) -> dict[str, str]:
    """`revision` (the Hub commit, from the model's `config`) or `sha256` (of a folder's files)."""
    folder = Path(source)
    if not folder.is_dir():
        return {"revision": str(getattr(config, "_commit_hash", None) or revision or "unknown")}
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors"), *folder.glob("*.jinja")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if size > _HASHED_FULLY:
                digest.update(file.read(1 << 20))
                file.seek(-(1 << 20), 2)
            digest.update(file.read())
    return {"sha256": digest.hexdigest()[:32]}


def benchmark_defaults(name: str, engine: str = "transformers") -> dict[str, dict[str, Any]]:
    """Benchmark parameters that a local model sets in its `gapbench.json`, such as small scenes for `glance`.

    Raises ModelError as `resolve` does, except with the server engine, where a model may have any name.
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
        defaults = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
        return {str(k): dict(v) for k, v in defaults.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f'{path}: expected {{"benchmarks": {{NAME: {{parameter: value}}}}}}; {error!r}.') from error


def load(name: str, **settings: Any) -> Loaded:
    """Load a model and its processor. `settings` are fields of `ModelOptions`.

    `dtype` auto: as published on an accelerator, float32 on a CPU. `device` auto: the accelerator if there is one, else
    the CPU; several accelerators share the model by layers. Raises ModelError or SettingError.
    """
    source, chosen = resolve(name), options.validated(ModelOptions, settings)
    refuse_pickles(name, source, chosen.revision)
    with _libraries(name) as (torch, transformers):
        device = _device(chosen.device)
        several_devices = device == "cuda" and chosen.device == "auto" and torch.cuda.device_count() > 1
        load_kwargs: dict[str, Any] = {"device_map": "auto"} if several_devices else {}
        if chosen.attn_implementation:
            load_kwargs["attn_implementation"] = chosen.attn_implementation
        auto = _auto_class(transformers, source, _remote(chosen))  # first: an unreachable Hub costs one small file
        processor = _processor(transformers, source, chosen)
        dtype = _dtype(chosen.dtype, device)
        model = auto.from_pretrained(source, dtype=dtype, use_safetensors=True, **load_kwargs, **_remote(chosen))
    if not several_devices:
        model = model.to(device)
    model.eval()
    loaded_dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    return Loaded(name, model, processor, device, loaded_dtype, identity(source, chosen.revision, model.config))


def load_without_weights(name: str, **settings: Any) -> Loaded:
    """`load`, but the weights have shapes alone (on the meta device), and only small files are read or fetched.

    `device` is the one on which `load` would put the model. `dtype` auto on an accelerator is the configuration's.
    Raises as `load` does, except that a model may have any weights or none.
    """
    source, chosen = resolve(name), options.validated(ModelOptions, settings)
    with _libraries(name) as (torch, transformers):
        remote = _remote(chosen)
        auto = _auto_class(transformers, source, remote)
        processor = _processor(transformers, source, chosen)
        config = transformers.AutoConfig.from_pretrained(source, **remote)
        device = _device(chosen.device)
        dtype = _dtype(chosen.dtype, device)
        if dtype == "auto":
            dtype = str(getattr(config, "dtype", None) or config.get_text_config().dtype or "float32")
        kwargs: dict[str, Any] = {"trust_remote_code": True} if chosen.trust_remote_code else {}
        if chosen.attn_implementation:
            kwargs["attn_implementation"] = chosen.attn_implementation
        with torch.device("meta"):
            model = auto.from_config(config, dtype=getattr(torch, dtype.removeprefix("torch.")), **kwargs)
    model.eval()
    return Loaded(name, model, processor, device, dtype.removeprefix("torch."))


@contextmanager
def _libraries(name: str) -> Iterator[tuple[Any, Any]]:
    """torch and transformers, without progress bars; what they raise inside becomes a ModelError."""
    from gapbench.util.torchvision_repair import repair

    repair()
    import torch
    import transformers
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

    hidden = are_progress_bars_disabled()
    transformers.utils.logging.disable_progress_bar()  # this also hides the Hub's, which later downloads show again
    try:
        yield torch, transformers
    except SettingError:
        raise
    except Exception as error:
        raise ModelError(load_error(name, error)) from error
    finally:
        if not hidden:
            enable_progress_bars()


def _remote(chosen: ModelOptions) -> dict[str, Any]:
    return {"revision": chosen.revision, "trust_remote_code": chosen.trust_remote_code}


def _dtype(asked: str, device: str) -> str:
    return "float32" if asked == "auto" and device == "cpu" else asked


def _processor(transformers: Any, source: str, chosen: ModelOptions) -> Any:
    """The model's processor, with the chosen chat template, padding on the left. Raises ModelError for one of text."""
    processor = transformers.AutoProcessor.from_pretrained(source, **_remote(chosen))
    if not hasattr(processor, "tokenizer") or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"its processor ({type(processor).__name__}) reads no images. Name a multimodal model.")
    if chosen.chat_template is not None:
        processor.chat_template = chosen.chat_template.read_text(encoding="utf-8")
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _auto_class(transformers: Any, source: str, remote: Mapping[str, Any]) -> Any:
    """AutoModelForMultimodalLM where it knows the model type, else AutoModelForImageTextToText.

    A model's own code can be used if its config.json maps one of the two to it (`auto_map`). Raises ModelError else.
    """
    stored, _ = transformers.PreTrainedConfig.get_config_dict(source, revision=remote["revision"])
    auto_map, kind = stored.get("auto_map") or {}, stored.get("model_type")
    own = [name for name in auto_map if name.startswith("AutoModel")]
    known, trusted = kind in transformers.CONFIG_MAPPING, remote["trust_remote_code"]
    replaced = trusted and "AutoConfig" in auto_map  # only its own classes take a configuration of its own class
    if any(auto in own for auto in AUTO_CLASSES) or (known and not replaced):
        config = transformers.AutoConfig.from_pretrained(source, **remote)
        for auto in AUTO_CLASSES:
            auto_class = getattr(transformers, auto, None)
            if auto_class is not None and ((trusted and auto in own) or type(config) in auto_class._model_mapping):
                return auto_class
    expected = f"its config.json maps {listed(own) or 'no model class'} to it; expected {' or '.join(AUTO_CLASSES)}"
    if replaced and known and transformers.CONFIG_MAPPING[kind] in _known_configs(transformers):
        raise ModelError(
            f"--trust-remote-code takes the model's own code in place of what transformers has for model type {kind!r},"
            f" and that code cannot be used: {expected}. Leave out --trust-remote-code."
        )
    if auto_map:
        raise ModelError(
            f"it needs its own code (model type {kind!r}), which cannot be used, with or without --trust-remote-code: "
            f"{expected}. {OTHER_ENGINES} Or name a copy in the format of transformers, if there is one (often "
            "OWNER/NAME-hf)."
        )
    remedy = "Name a multimodal model." if known else f"Upgrade transformers, if the model is newer. {OTHER_ENGINES}"
    raise ModelError(
        f"model type {kind!r} is not an image-text-to-text model known to transformers {transformers.__version__}, and "
        f"its config.json names no code of its own. {remedy}"
    )


def _known_configs(transformers: Any) -> set[Any]:
    """The configurations of all image-text-to-text models that transformers itself has."""
    return {config for auto in AUTO_CLASSES if hasattr(transformers, auto)
            for config in getattr(transformers, auto)._model_mapping}  # fmt: skip


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
    """The error message for a model that transformers cannot load."""
    text, said = first_line(error, 1000), redacted(str(error))
    offline = ("couldn't connect", "offline", "ConnectionError", "LocalEntryNotFound", "Connection error", "resolve")
    if isinstance(error, ModelError):
        why = said
    elif "trust_remote_code" in said:
        why = "it ships its own code, which does not run by default. Read the code, then pass --trust-remote-code."
    elif any(word.lower() in (said + type(error).__name__).lower() for word in offline):
        why = (
            "not in the local cache, and the Hugging Face Hub could not be reached. Check the name, the network and "
            f"HF_HUB_OFFLINE; or pass a local folder, or `glance`. ({text})"
        )
    elif re.search(r"safetensor|EOF|incomplete|truncat|corrupt|unexpected end", f"{type(error).__name__} {said}", re.I):
        why = f"a file of it is damaged or incomplete ({type(error).__name__}: {text}). Fetch or copy it again."
    else:
        why = f"cannot be loaded ({type(error).__name__}: {text}). Check its name, --revision and your access."
    return f"Model {name}: {why}"
