"""Engines turn (images, prompt) into text: transformers, vLLM in this process, or any OpenAI-compatible server.

    from gapbench.engines import loading
    from gapbench.views.pixels import Pixels
    engine = loading.load("glance", settings={"pixels": Pixels(), "max_new_tokens": 64, "temperature": 0.0, "seed": 0})
    for key, answer in engine.generate(requests): ...

Each is a `gapbench.types.Engine`, so the format of the records does not depend on the engine.
"""
