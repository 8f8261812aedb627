"""What servers say of themselves, for the record.

look(["http://localhost:8000/v1"], key)
# [{"url": ..., "models": [{"id": "Qwen/Qwen3-VL-4B-Instruct", "max_model_len": 262144}], "version": "0.32.0"}]

Limits: `/models` is asked of all, `/version` is vLLM's; servers that have neither are taken as they are.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gapbench.engines.server.api_key import ApiKey
from gapbench.engines.server.endpoints import is_loopback
from gapbench.engines.server.responses import explain
from gapbench.errors import ModelError

TIMEOUT = 10.0
"""Seconds for each look."""
MODELS = 20
"""Models that are listed, at most: a gateway may have hundreds."""


def look(urls: Sequence[str], key: ApiKey) -> list[dict[str, Any]]:
    """One entry per URL. Raises ModelError if none can be reached, or if one refuses the key."""
    import httpx2

    found, lost = [], []
    for url in urls:
        with httpx2.Client(timeout=TIMEOUT, trust_env=not is_loopback(url), headers=key.headers) as client:
            entry: dict[str, Any] = {"url": url}
            try:
                response = client.get(f"{url}/models")
                if response.status_code == 401:
                    raise ModelError(
                        f"{url}: it refuses us with HTTP 401: {explain(response.content, key.redact)} Pass the name of "
                        "the environment variable that holds the right key (--api-key-env)."
                    )
                entry["models"] = _models(response.content, key)
                entry["version"] = _version(client, url, key)
            except httpx2.HTTPError as error:
                lost.append(f"{url} ({key.redact(f'{type(error).__name__}: {error}')})")
            found.append({name: value for name, value in entry.items() if value})
    if len(lost) == len(urls):
        raise ModelError(
            f"No server was reached: {'; '.join(lost)}. Start it, wait until it is ready, and check --base-url."
        )
    if lost:
        warnings.warn(f"--base-url: not reached so far: {'; '.join(lost)}. The others do its work.", stacklevel=3)
    return found


def doubts(model: str, servers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why these may not all serve `model`, as far as they say what they serve: `look`'s entries in words."""
    found, roots = [], {}
    for server in servers:
        listed = {entry.get("id"): entry.get("root") for entry in server.get("models", ())}
        if listed.get(model):
            roots[server["url"]] = listed[model]
        if listed and model not in listed and len(listed) < MODELS:
            names = ", ".join(sorted(filter(None, listed)))
            found.append(f"{server['url']} lists no model {model}, but {names}: is it the one that is to answer?")
    if len(set(roots.values())) > 1:
        known = ", ".join(f"{root} ({url})" for url, root in roots.items())
        found.append(f"--base-url: what servers call {model} is {known}. Answers of two models must not be mixed.")
    return found


def _models(body: bytes, key: ApiKey) -> list[dict[str, Any]]:
    listed = _json(body, key).get("data")
    kept = ("id", "root", "max_model_len")
    return [{name: m[name] for name in kept if isinstance(m.get(name), str | int)}
            for m in (listed if isinstance(listed, list) else [])[:MODELS] if isinstance(m, dict)]  # fmt: skip


def _version(client: Any, url: str, key: ApiKey) -> str:
    parts = urlsplit(url)
    value = _json(client.get(f"{parts.scheme}://{parts.netloc}/version").content, key).get("version")
    return value[:100] if isinstance(value, str) else ""


def _json(body: bytes, key: ApiKey) -> dict[str, Any]:
    try:
        value = json.loads(key.redact(body.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
