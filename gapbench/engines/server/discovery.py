"""Ask each server for its models and version, for the manifest.

describe_servers(["http://localhost:8000/v1"], key)
# [{"url": ..., "models": [{"id": "Qwen/Qwen3-VL-4B-Instruct", "context_length": 262144}], "version": "0.32.0"}]

Limits: only vLLM has `/version`. Servers without `/models` or `/version` are accepted.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

from gapbench.engines.context import context_length
from gapbench.engines.server.api_key import ApiKey
from gapbench.engines.server.endpoints import is_loopback
from gapbench.engines.server.responses import LONGEST, as_dict, explain
from gapbench.errors import ModelError
from gapbench.util.text import printable

TIMEOUT = 10.0
"""Seconds per request."""
MODELS = 20
"""Most models recorded per server: a gateway may list hundreds."""


def describe_servers(urls: Sequence[str], key: ApiKey) -> list[dict[str, Any]]:
    """One entry per URL. Raises ModelError if no server can be reached, or if one refuses the key."""
    import httpx2

    entries, unreachable = [], []
    for url in urls:
        entry: dict[str, Any] = {"url": url}
        with httpx2.Client(timeout=TIMEOUT, trust_env=not is_loopback(url), headers=key.headers) as client:
            try:
                response = client.get(f"{url}/models")
                if response.status_code == 401:
                    raise ModelError(
                        f"{url}: the server refused the request with HTTP 401: {explain(response.content, key.redact)} "
                        "Pass the name of the environment variable that holds the right key (--api-key-env)."
                    )
                entry["models"] = _models(_json(response.content, key).get("data"))
                with suppress(httpx2.HTTPError):  # it was reached; some close the connection after an error
                    version = _json(client.get(urljoin(url, "/version")).content, key).get("version")
                    entry["version"] = version[:100] if isinstance(version, str) else ""
            except httpx2.HTTPError as error:
                unreachable.append(f"{url} ({key.redact(f'{type(error).__name__}: {error}')})")
        entries.append({name: value for name, value in entry.items() if value})
    if len(unreachable) == len(urls):
        raise ModelError(
            f"No server was reached: {'; '.join(unreachable)}. Start it, wait until it is ready, and check --base-url."
        )
    if unreachable:
        warnings.warn(
            f"--base-url: not reached so far: {'; '.join(unreachable)}. The other servers take its share.", stacklevel=3
        )
    return entries


def warn_of_mismatch(model: str, servers: Sequence[Mapping[str, Any]]) -> None:
    """Warn that the servers may not all serve `model`. `servers` are entries of `describe_servers`."""
    messages, roots = [], {}
    for server in servers:
        listed = {entry.get("id"): entry.get("root") for entry in server.get("models", ())}
        if listed.get(model):
            roots[server["url"]] = listed[model]
        if listed and model not in listed and len(listed) < MODELS:
            names = ", ".join(sorted(filter(None, listed)))
            messages.append(
                f"{server['url']} lists no model {model}, but {names}. Check --base-url and the model's name."
            )
    if len(set(roots.values())) > 1:
        weights = ", ".join(f"{root} ({url})" for url, root in roots.items())
        messages.append(f"--base-url: the servers use different weights for {model}: {weights}. Do not mix two models.")
    for message in messages:
        warnings.warn(message, stacklevel=3)


def context_lengths(model: str, servers: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """The context length of `model` by URL, None where a server does not declare it. Entries of `describe_servers`.

    A server that lists a single model serves it under any name.
    """
    listed = {server["url"]: server.get("models", ()) for server in servers}
    return {
        url: next((m.get("context_length") for m in models if m.get("id") == model or len(models) == 1), None)
        for url, models in listed.items()
    }


def _models(listed: Any) -> list[dict[str, Any]]:
    entries = [m for m in (listed if isinstance(listed, list) else [])[:MODELS] if isinstance(m, dict)]
    found = [{"id": m.get("id"), "root": m.get("root"), "context_length": context_length(m)} for m in entries]
    kept = [{name: value for name, value in m.items() if isinstance(value, str | int)} for m in found]
    return [{k: printable(v)[:LONGEST] if isinstance(v, str) else v for k, v in m.items()} for m in kept]


def _json(body: bytes, key: ApiKey) -> dict[str, Any]:
    try:
        return as_dict(json.loads(key.redact(body.decode("utf-8", "replace"))))
    except (ValueError, RecursionError):
        return {}
