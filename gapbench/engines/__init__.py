"""Engines turn (images, prompt) into text: transformers, vLLM on this machine, or any OpenAI-compatible server.

    from gapbench.engines import loading
    from gapbench.engines.options import Generation
    engine = loading.load("glance", loading.choose("glance"), Generation(max_new_tokens=64))
    for key, answer in engine.generate(requests): ...

Each is a `gapbench.types.Engine`, so the format of the records does not depend on the engine.
"""
