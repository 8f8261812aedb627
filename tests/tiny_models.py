"""Tiny random checkpoints of real vision-language architectures: complete, image-sensitive, built in under a second.

    from tiny_models import FAMILIES, build
    folder = build("qwen3_vl", tmp_path / "model")       # config, weights, tokenizer, processor, chat template

Every checkpoint loads through AutoProcessor and AutoModelForMultimodalLM without trust_remote_code. Hidden size 64,
2 layers, a byte-level vocabulary of at most 480 tokens (PaliGemma's processor adds its own 1152) and a text head
dimension of 32 (the smallest that vLLM serves on CPU).
The usual initialisation (normal, 0.02) leaves logits nearly flat and some families blind to the image, and tests of
equal tokens would pass for nothing; weights are drawn here with variance 1/fan-in, which keeps activations and logits
at unit scale (LeCun et al., "Efficient BackProp", 1998, section 4.6).

Limits: answers are noise; the output rows of placeholder tokens are zero, so that greedy decoding never says "image".
Phi-4-multimodal costs several hundred tokens an image, because its processor is written for 448-pixel tiles alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gapbench.util.torchvision_repair import repair

repair()

import torch  # noqa: E402
import transformers as tf  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

VOCABULARY = 480
PAD, END, UNKNOWN = "<|endoftext|>", "<|im_end|>", "<|unk|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for item in message.content %}"
    "{% if item.type == 'image' %}IMAGE{% else %}{{ item.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The tokenizers are trained on these words: another word makes other models, whose ties fall otherwise.
TEXT = (
    "system user assistant You are a helpful assistant. Look at the picture and answer with one word. "
    "What is the colour of the small sign on the left? How many people are there? Is the door open? yes no "
    "Answer with the option's letter from the given choices directly. (A) red (B) blue (C) green (D) yellow "
    "What number is written on the bus? 0 1 2 3 4 5 6 7 8 9 Which word stands above the window? nothing else "
)

Config = Callable[[Mapping[str, int], int], Any]
"""(ids by token name, vocabulary size) -> model configuration"""

Processor = Callable[[Any], Any]
"""tokenizer -> processor"""


@dataclass(frozen=True)
class Family:
    """`tokens` are special tokens that the tokenizer must know by name, `others` those without one, `literals` plain
    text kept in one piece; `image` is what the chat template writes for an image."""

    config: Config
    processor: Processor
    tokens: Mapping[str, str]
    others: tuple[str, ...] = ()
    image: str = "{image_token}"
    literals: tuple[str, ...] = ()
    bos: str | None = None


def build(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint of `family` (one of FAMILIES) to `folder`, made if need be, and return `folder`."""
    spec = _FAMILIES[family]
    tokenizer, ids = text_side(family)
    processor = spec.processor(tokenizer)
    processor.chat_template = tokenizer.chat_template
    config = spec.config(ids, len(tokenizer))
    placeholders = [i for token, i in tokenizer.get_added_vocab().items() if token not in (END, *spec.literals)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = tf.AutoModelForMultimodalLM.from_config(config, dtype=torch.float32)
        randomise(model, placeholders)
    model.generation_config = tf.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    model.save_pretrained(folder)
    _name_tower_as_published(Path(folder) / "model.safetensors")
    processor.save_pretrained(folder)
    return folder


def image_token_id(config: Any) -> int:
    """The id that the model replaces by image features; its occurrences in `input_ids` are the image tokens.

    Only the configuration is to be trusted: a processor's own `image_token_id` is the token that it expands, which in
    Gemma 3 and Ovis2 is another one. Phi-4 hides it in its vision half. Raises LookupError if there is none.
    """
    for part in (config, getattr(config, "vision_config", None)):
        for name in ("image_token_id", "image_token_index"):
            found = getattr(part, name, None)
            if isinstance(found, int):
                return found
    raise LookupError(f"{type(config).__name__} names no image token")


def text_side(family: str, vocabulary: int = 0) -> tuple[Any, dict[str, int]]:
    """The tokenizer of a family, with its chat template, and the ids of the family's tokens by name.

    Up to `vocabulary` ids it is filled with words that no text is split into, but that a model may say.
    """
    spec = _FAMILIES[family]
    tokenizer = _tokenizer(spec, vocabulary)
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", spec.image.format(**spec.tokens))
    return tokenizer, {name: tokenizer.convert_tokens_to_ids(token) for name, token in spec.tokens.items()}


def _tokenizer(spec: Family, vocabulary: int = 0) -> Any:
    """A byte-level BPE: any text can be written, and no token is unknown."""
    special = [PAD, "<|im_start|>", END, UNKNOWN, *dict.fromkeys((*spec.tokens.values(), *spec.others))]
    special += [spec.bos] if spec.bos else []
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    filled = json.loads(bpe.to_str())
    filled["model"]["vocab"] |= {f"w{n}": n for n in range(bpe.get_vocab_size(), vocabulary)}
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(filled)),
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=spec.bos,
        padding_side="left",
        model_max_length=4096,
        extra_special_tokens=dict(spec.tokens),
    )
    tokenizer.add_tokens(list(spec.literals))
    return tokenizer


@torch.no_grad()
def randomise(model: Any, placeholders: list[int]) -> None:
    """Redraw every matrix with variance 1/fan-in; vectors (norms, biases) keep their initial values.

    With tied embeddings the output layer would be the 0.5 of the embeddings: each token would simply predict
    itself, image or not. Hence small embeddings and twice the scale elsewhere.
    """
    head = model.get_output_embeddings()
    tied = head.weight is model.get_input_embeddings().weight
    embedding, scale = (0.05, 2.0) if tied else (0.5, 1.0)
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if isinstance(module, torch.nn.Embedding):
                parameter.normal_(0, embedding)
            elif parameter.dim() >= 2 and not (tied and module is head):
                convolution = isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d)
                fan_in = parameter[0].numel() if convolution else parameter.shape[-1]
                parameter.normal_(0, scale / math.sqrt(fan_in))
    head.weight[placeholders] = 0


def _name_tower_as_published(weights: Path) -> None:
    """Name CLIP and SigLIP towers as published checkpoints do.

    transformers reads both spellings but writes the short one for a model made from a configuration; vLLM reads
    only the published one.
    """
    tensors = load_file(weights)
    if any("vision_tower.embeddings.position_embedding.weight" in name for name in tensors):
        renamed = {name.replace("vision_tower.", "vision_tower.vision_model."): t for name, t in tensors.items()}
        save_file(renamed, weights, metadata={"format": "pt"})


# --- shared parts -------------------------------------------------------------------------------------------


def _text(vocabulary: int, **more: Any) -> dict[str, Any]:
    """Llama-like decoder: 2 heads of 32 that share one key-value head."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **more,
    }


def _tower(**more: Any) -> dict[str, Any]:
    """Vision transformer with a fixed input of 56 pixels in patches of 14: 4 x 4 positions."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {**size, "image_size": 56, "patch_size": 14, **more}


def _dynamic_tower(**more: Any) -> dict[str, Any]:
    """Vision transformer for any number of patches, as in Qwen-VL and GLM-V."""
    size = {"hidden_size": 32, "intermediate_size": 64, "depth": 2, "num_heads": 2}
    return {**size, "patch_size": 14, "out_hidden_size": 64, **more}


def _config(
    make: Any, text: Mapping[str, Any], vision: Mapping[str, Any], ids: Mapping[str, str], **more: Any
) -> Config:
    """A configuration in the usual two halves; `ids` maps its entries to names of tokens."""
    return lambda by_name, n: make(
        text_config=_text(n, **text),
        # copied, because some configurations change the dictionaries they are given
        vision_config=dict(vision),
        **{entry: by_name[token] for entry, token in ids.items()},
        **more,
    )


def _same(tokens: Mapping[str, str]) -> dict[str, str]:
    """Configuration entries named after the tokens: `image_token_id` for `image_token`."""
    return {f"{name}_id": name for name in tokens}


def _mrope(*section: int, **more: Any) -> dict[str, Any]:
    """Rotary frequencies given to time, height and width; they sum to half the rotary dimension."""
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(section), **more}


_SQUARE = {"height": 56, "width": 56}
_IMAGE = {"image_token": "<image>"}
_INDEX = {"image_token_index": "image_token"}

# --- native resolution, multimodal rotary positions: Qwen-VL and GLM-V --------------------------------------

_QWEN = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
_GLM = {
    "image_token": "<|image|>",
    "video_token": "<|video|>",
    "image_start_token": "<|begin_of_image|>",
    "image_end_token": "<|end_of_image|>",
    "video_start_token": "<|begin_of_video|>",
    "video_end_token": "<|end_of_video|>",
}


def _qwen(config: Any, vision: Mapping[str, Any], processor: Any, video: Any, patch: int, **text: Any) -> Family:
    area = {"shortest_edge": (2 * patch) ** 2 * 4, "longest_edge": (2 * patch) ** 2 * 64}
    text = {"rope_parameters": _mrope(4, 6, 6), **text}
    return Family(
        _config(config, text, _dynamic_tower(patch_size=patch, **vision), _same(_QWEN)),
        lambda tok: processor(tf.Qwen2VLImageProcessor(patch_size=patch, size=area), tok, video(patch_size=patch)),
        _QWEN,
        image="{vision_start_token}{image_token}{vision_end_token}",
    )


def _glm(config: Any, image: Any, processor: Any, video: Any, **text: Any) -> Family:
    area = {"shortest_edge": 28**2 * 2 * 4, "longest_edge": 28**2 * 2 * 64}  # counted over two equal frames
    text = {"rope_parameters": _mrope(2, 3, 3, partial_rotary_factor=0.5), **text}
    return Family(
        _config(config, text, _dynamic_tower(image_size=56), _same(_GLM)),
        lambda tok: processor(image(size=area), tok, video()),
        _GLM,
        image="{image_start_token}{image_token}{image_end_token}",
    )


_GATED_DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "rope_parameters": _mrope(2, 1, 1, partial_rotary_factor=0.25, mrope_interleaved=True),
}

# --- a tower, a projector and a language model: LLaVA and its relatives -------------------------------------

_CLIP = _tower(model_type="clip_vision_model", projection_dim=32)
_SIGLIP = _tower(model_type="siglip_vision_model", vision_use_head=False)
_PINPOINTS = [[56, 56], [56, 112], [112, 56], [112, 112]]
_LLAVA_SIZE = {"size": {"shortest_edge": 56}, "crop_size": _SQUARE}
_PIXTRAL = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
_PIXTRAL_TOWER = _tower(model_type="pixtral", image_size=112, head_dim=16)
_INTERNVL = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_OVIS_INDICATORS = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")
_OVIS = {**_IMAGE, "atom": "<IMG_ATOM>", **{f"indicator_{i}": t for i, t in enumerate(_OVIS_INDICATORS)}}


def _llava_processor(processor: Any, image: Any) -> Processor:
    # the one additional token is CLIP's class token, which the "default" strategy drops again
    return lambda tok: processor(
        image, tok, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


def _llava_onevision_processor(tok: Any) -> Any:
    image = tf.LlavaOnevisionImageProcessor(size=_SQUARE, image_grid_pinpoints=_PINPOINTS)
    video = tf.LlavaOnevisionVideoProcessor(size=_SQUARE)
    return tf.LlavaOnevisionProcessor(image, tok, video, num_image_tokens=16, vision_feature_select_strategy="full")


def _pixtral_processor(merge: int) -> Processor:
    image = tf.PixtralImageProcessor(patch_size={"height": 14, "width": 14}, size={"longest_edge": 112})
    return lambda tok: tf.PixtralProcessor(image, tok, patch_size=14, spatial_merge_size=merge)


def _internvl_processor(tok: Any) -> Any:
    image = tf.GotOcr2ImageProcessor(size=_SQUARE, max_patches=4)
    return tf.InternVLProcessor(image, tok, tf.InternVLVideoProcessor(size=_SQUARE), image_seq_length=4)


def _ovis2(ids: Mapping[str, int], n: int) -> Any:
    return tf.Ovis2Config(
        text_config=_text(n, model_type="qwen2"),
        vision_config=_tower(vocab_size=64, hidden_stride=2),
        image_token_id=ids["atom"],
        visual_indicator_token_ids=[ids[f"indicator_{i}"] for i in range(5)],
        vocab_size=n,
        hidden_size=64,
        tie_word_embeddings=False,
    )


def _ovis2_processor(tok: Any) -> Any:
    return tf.Ovis2Processor(tf.Ovis2ImageProcessor(size=_SQUARE), tok, image_seq_length=4)


# --- tied embeddings, image tokens that see each other: Gemma -----------------------------------------------

_GEMMA3 = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
_GEMMA4 = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "video_token": "<|video|>",
}
_ALTERNATING = ["sliding_attention", "full_attention"]


def _gemma4(ids: Mapping[str, int], n: int) -> Any:
    per_layer = {"hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": n}
    return tf.Gemma4Config(
        text_config=_text(n, global_head_dim=32, layer_types=_ALTERNATING, **per_layer),
        vision_config=_tower(head_dim=16, num_key_value_heads=2, patch_size=16, position_embedding_size=640),
        eoa_token_index=ids["eoa_token"],
        **{f"{name}_id": i for name, i in ids.items() if name != "eoa_token"},
    )


def _gemma4_processor(tok: Any) -> Any:
    image, video = tf.Gemma4ImageProcessor(max_soft_tokens=70), tf.Gemma4VideoProcessor()
    return tf.Gemma4Processor(tf.Gemma4AudioFeatureExtractor(), image, tok, video)


def _paligemma(ids: Mapping[str, int], n: int) -> Any:
    return tf.PaliGemmaConfig(
        text_config=_text(n, model_type="gemma2", query_pre_attn_scalar=32),
        vision_config=dict(_SIGLIP),
        image_token_index=ids["image_token"],
        projection_dim=64,
        hidden_size=64,
        vocab_size=n,
    )


def _paligemma_processor(tok: Any) -> Any:
    image = tf.SiglipImageProcessor(size=_SQUARE)
    image.image_seq_length = 16
    return tf.PaliGemmaProcessor(image, tok)


# --- images cut into tiles: Idefics, SmolVLM, LFM2-VL, Phi-4; and Kimi ------------------------------------

_IDEFICS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
    "video_token": "<video>",
}
_TILES = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
_TILE_TOKENS = tuple(f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2))
_LFM = {
    "image_token": "<image>",
    "image_start_token": "<|image_start|>",
    "image_end_token": "<|image_end|>",
    "image_thumbnail_token": "<|img_thumbnail|>",
}
_PHI4 = {"image_token": "<|image|>", "audio_token": "<|audio|>"}
_KIMI = {
    "image_token": "<|media_pad|>",
    "video_token": "<|kimi_k25_video_placeholder|>",
    "vision_start_token": "<|media_begin|>",
    "vision_end_token": "<|media_end|>",
}
_LATENT_ATTENTION = {
    "num_key_value_heads": 2,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "head_dim": 16,
    "v_head_dim": 32,
}
_EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def _idefics(config: Any, processor: Processor) -> Family:
    ids = {"image_token_id": "image_token"}
    return Family(
        _config(config, {"model_type": "llama"}, _tower(), ids, pad_token_id=0, scale_factor=2),
        processor,
        _IDEFICS,
        others=_TILE_TOKENS,
    )


def _smolvlm_processor(tok: Any) -> Any:
    image, video = tf.SmolVLMImageProcessor(**_TILES), tf.SmolVLMVideoProcessor(**_TILES)
    return tf.SmolVLMProcessor(image, tok, video, image_seq_len=4)


def _lfm2_processor(tok: Any) -> Any:
    tiles = {"tile_size": 64, "min_image_tokens": 4, "max_image_tokens": 12, "max_tiles": 4}
    return tf.Lfm2VlProcessor(tf.Lfm2VlImageProcessor(**tiles), tok)


def _phi4(ids: Mapping[str, int], n: int) -> Any:
    audio = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_blocks": 1,
        "num_attention_heads": 2,
        "ext_pw_out_channel": 32,
        "depthwise_separable_out_channel": 32,
        "nemo_conv_channels": 8,
        "audio_token_id": ids["audio_token"],
    }
    vision = _tower(image_size=448, image_token_id=ids["image_token"])
    return tf.Phi4MultimodalConfig(**_text(n), vision_config=vision, audio_config=audio)


def _phi4_processor(tok: Any) -> Any:
    image = tf.Phi4MultimodalImageProcessor(dynamic_hd=1)
    return tf.Phi4MultimodalProcessor(image, tf.Phi4MultimodalFeatureExtractor(), tok)


_FAMILIES: dict[str, Family] = {
    "qwen2_vl": _qwen(
        tf.Qwen2VLConfig,
        {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2},
        tf.Qwen2VLProcessor,
        tf.Qwen2VLVideoProcessor,
        patch=14,
    ),
    "qwen2_5_vl": _qwen(
        tf.Qwen2_5_VLConfig,
        {"fullatt_block_indexes": [1], "window_size": 56},
        tf.Qwen2_5_VLProcessor,
        tf.Qwen2VLVideoProcessor,
        patch=14,
    ),
    "qwen3_vl": _qwen(
        tf.Qwen3VLConfig,
        {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
        tf.Qwen3VLProcessor,
        tf.Qwen3VLVideoProcessor,
        patch=16,
        # as published: transformers always interleaves, vLLM asks
        rope_parameters=_mrope(4, 6, 6, mrope_interleaved=True),
    ),
    "qwen3_5": _qwen(
        tf.Qwen3_5Config,
        {"num_position_embeddings": 64},
        tf.Qwen3VLProcessor,
        tf.Qwen3VLVideoProcessor,
        patch=16,
        **_GATED_DELTA,
    ),
    "llava": Family(
        _config(tf.LlavaConfig, {"model_type": "llama"}, _CLIP, _INDEX, image_seq_length=16),
        _llava_processor(tf.LlavaProcessor, tf.LlavaImageProcessor(**_LLAVA_SIZE)),
        _IMAGE,
    ),
    "llava_next": Family(
        _config(tf.LlavaNextConfig, {"model_type": "llama"}, _CLIP, _INDEX, image_grid_pinpoints=_PINPOINTS),
        _llava_processor(
            tf.LlavaNextProcessor, tf.LlavaNextImageProcessor(image_grid_pinpoints=_PINPOINTS, **_LLAVA_SIZE)
        ),
        _IMAGE,
    ),
    "llava_onevision": Family(
        _config(
            tf.LlavaOnevisionConfig,
            {"model_type": "qwen2"},
            _SIGLIP,
            {**_INDEX, "video_token_index": "video_token"},
            image_grid_pinpoints=_PINPOINTS,
        ),
        _llava_onevision_processor,
        {**_IMAGE, "video_token": "<video>"},
    ),
    "internvl": Family(
        _config(
            tf.InternVLConfig,
            {"model_type": "qwen2"},
            _tower(image_size=[56, 56], patch_size=[14, 14]),
            {"image_token_id": "context_image_token"},
            image_seq_length=4,
            tie_word_embeddings=False,
        ),
        _internvl_processor,
        _INTERNVL,
        image="{context_image_token}",
    ),
    "gemma3": Family(
        _config(
            tf.Gemma3Config,
            {"query_pre_attn_scalar": 32, "layer_types": _ALTERNATING},
            _tower(vision_use_head=False),
            {f"{name}_index": name for name in _GEMMA3},
            mm_tokens_per_image=4,
        ),
        lambda tok: tf.Gemma3Processor(tf.Gemma3ImageProcessor(size=_SQUARE), tok, image_seq_length=4),
        _GEMMA3,
        image="{boi_token}",
        literals=("\n",),
    ),
    "gemma4": Family(_gemma4, _gemma4_processor, _GEMMA4),
    "idefics3": _idefics(
        tf.Idefics3Config,
        lambda tok: tf.Idefics3Processor(tf.Idefics3ImageProcessor(**_TILES), tok, image_seq_len=4),
    ),
    "smolvlm": _idefics(tf.SmolVLMConfig, _smolvlm_processor),
    "paligemma": Family(_paligemma, _paligemma_processor, _IMAGE, literals=("\n",), bos="<bos>"),
    "mistral3": Family(
        _config(tf.Mistral3Config, {"model_type": "mistral"}, _PIXTRAL_TOWER, _INDEX, tie_word_embeddings=False),
        _pixtral_processor(merge=2),
        _PIXTRAL,
    ),
    "pixtral": Family(
        _config(
            tf.LlavaConfig,
            {"model_type": "mistral"},
            _PIXTRAL_TOWER,
            _INDEX,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        ),
        _pixtral_processor(merge=1),
        _PIXTRAL,
    ),
    "glm4v": _glm(tf.Glm4vConfig, tf.Glm4vImageProcessor, tf.Glm4vProcessor, tf.Glm4vVideoProcessor),
    "glm4v_moe": _glm(tf.Glm4vMoeConfig, tf.Glm4vImageProcessor, tf.Glm4vProcessor, tf.Glm4vVideoProcessor, **_EXPERTS),
    "glm46v": _glm(
        tf.Glm46VConfig,
        tf.Glm46VImageProcessor,
        tf.Glm46VProcessor,
        tf.Glm46VVideoProcessor,
        model_type="glm4v_text",
    ),
    "lfm2_vl": Family(
        _config(
            tf.Lfm2VlConfig,
            # attention first: after a convolution of 3 tokens alone, the image would hardly reach the answer
            {"model_type": "lfm2", "layer_types": ["full_attention", "conv"], "block_multiple_of": 32},
            _tower(model_type="siglip2_vision_model", patch_size=16, num_patches=16, vision_use_head=False),
            {"image_token_id": "image_token"},
            projector_hidden_size=64,
        ),
        _lfm2_processor,
        _LFM,
    ),
    "phi4_multimodal": Family(_phi4, _phi4_processor, _PHI4),
    "ovis2": Family(_ovis2, _ovis2_processor, _OVIS),
    "kimi_k25": Family(
        _config(
            tf.Kimi_K25Config,
            {"model_type": "deepseek_v3", **_LATENT_ATTENTION, **_EXPERTS, "n_group": 1, "topk_group": 1}
            | {"first_k_dense_replace": 1},
            _tower(pos_emb_height=8, pos_emb_width=8),
            _same(_KIMI),
            projection_hidden_size=32,
            tie_word_embeddings=False,
        ),
        lambda tok: tf.Kimi_K25Processor(tf.Kimi_K25ImageProcessor(), tok, tf.Kimi_K25VideoProcessor()),
        _KIMI,
        image="{vision_start_token}{image_token}{vision_end_token}",
    ),
}

FAMILIES: tuple[str, ...] = tuple(_FAMILIES)
