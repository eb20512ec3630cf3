# SPDX-License-Identifier: Apache-2.0
"""Language: encoders, decoders, both, mixtures of experts, and models with state instead of attention."""

from __future__ import annotations

from benchmarks.testbed.entries import Family


def bert(layers: int, width: int, **others: object) -> dict[str, object]:
    return {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": max(1, width // 64),
            "intermediate_size": 4 * width, **others}  # fmt: skip


def llama(
    layers: int, width: int, inner: int, heads: int, keys: int, **others: object
) -> dict[str, object]:
    return {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": inner,
            "num_attention_heads": heads, "num_key_value_heads": keys, **others}  # fmt: skip


def opt(layers: int, width: int, heads: int) -> dict[str, object]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "ffn_dim": 4 * width,
        "num_attention_heads": heads,
    }


def t5(layers: int, width: int, inner: int, heads: int, **others: object) -> dict[str, object]:
    return {"num_layers": layers, "num_decoder_layers": layers, "d_model": width, "d_ff": inner, "num_heads": heads,
            "d_kv": 64, **others}  # fmt: skip


def bart(layers: int, width: int, heads: int, **others: object) -> dict[str, object]:
    return {"encoder_layers": layers, "decoder_layers": layers, "d_model": width, "encoder_attention_heads": heads,
            "decoder_attention_heads": heads, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width, **others}  # fmt: skip


BF16 = "bfloat16"
DECODER = "b1-s512 b8-decode-c1024"

# The miniatures of Turc et al. (2019): all pairs of these.
MINIATURES = {
    f"{layers}-{width}": bert(layers, width)
    for width in (128, 256, 512, 768)
    for layers in (2, 4, 6, 8, 10, 12)
}

ENCODERS = (
    Family("language", "bert", MINIATURES, "b1-s128 b32-s64", {"architectures": ["BertModel"]}),
    Family("language", "bert", {"base": bert(12, 768), "tiny": bert(2, 128), "mini": bert(4, 256), "small": bert(4, 512)}, "b32-s384", {"architectures": ["BertForQuestionAnswering"]}),
    Family("language", "bert", {"large": bert(24, 1024)}, "b1-s128 b8-s384", {"architectures": ["BertModel"]}),
    Family("language", "distilbert", {"base": {"n_layers": 6}}, "b1-s128 b16-s256", {"architectures": ["DistilBertModel"]}),
    Family("language", "roberta", {"base": {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}}, "b1-s128 b8-s512"),
    Family("language", "xlm-roberta", {"base": {"vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1}}, "b1-s256"),
    Family("language", "albert", {"base": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}, "large": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24}}, "b1-s128", {"architectures": ["AlbertModel"]}),
    Family("language", "electra", {
        "small": {"embedding_size": 128, "hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4},
        "base": {"embedding_size": 768, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    }, "b1-s128 b8-s512", {"architectures": ["ElectraModel"]}),
    Family("language", "squeezebert", {"": {}}, "b1-s128", {"architectures": ["SqueezeBertModel"]}),
    Family("language", "mobilebert", {"": {"num_hidden_layers": 24}}, "b1-s128", {"architectures": ["MobileBertModel"]}),
    Family("language", "mpnet", {"base": {}}, "b1-s128", {"architectures": ["MPNetModel"]}),
    Family("language", "convbert", {"base": {}}, "b1-s128", {"architectures": ["ConvBertModel"]}),
    Family("language", "fnet", {"base": {}}, "b1-s128 b8-s512", {"architectures": ["FNetModel"]}),
    Family("language", "roformer", {"base": {}}, "b1-s256", {"architectures": ["RoFormerModel"]}),
    Family("language", "ernie", {"base": {}}, "b1-s256", {"architectures": ["ErnieModel"]}),
    Family("language", "rembert", {"6": {"num_hidden_layers": 6}}, "b1-s128", {"architectures": ["RemBertModel"]}),
    Family("language", "megatron-bert", {"345m": {"num_hidden_layers": 24}}, "b1-s128", {"architectures": ["MegatronBertModel"]}),
    Family("language", "funnel", {"small": {"block_sizes": [4, 4, 4]}}, "b1-s128", {"architectures": ["FunnelModel"]}),
    Family("language", "deberta", {"base": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False, "vocab_size": 50265, "type_vocab_size": 0}}, "b1-s128", {"architectures": ["DebertaModel"]}),
    Family("language", "deberta-v2", {
        "v3-xsmall": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536},
        "v3-small": {"hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 3072},
    }, "b1-s128", {"architectures": ["DebertaV2Model"], "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False, "type_vocab_size": 0, "vocab_size": 128100}),
    Family("language", "xlnet", {"base": {"d_model": 768, "n_layer": 12, "n_head": 12, "d_inner": 3072}}, "b1-s128", {"architectures": ["XLNetModel"]}),
    Family("language", "modernbert", {"base": {"num_hidden_layers": 22}}, "b1-s512"),
    Family("language", "big_bird", {"base": {}}, "b1-s512", {"architectures": ["BigBirdModel"], "attention_type": "original_full"}),
    Family("language", "esm", {
        "8m": {**bert(6, 320, num_attention_heads=20)}, "35m": {**bert(12, 480, num_attention_heads=20)},
    }, "b1-s256 b8-s512", {"vocab_size": 33, "mask_token_id": 32, "pad_token_id": 1, "position_embedding_type": "rotary", "token_dropout": False, "emb_layer_norm_before": False, "max_position_embeddings": 1026}),
    Family("language", "xmod", {"base": {"languages": ["en_XX"], "default_language": "en_XX"}}, "b1-s128", {"architectures": ["XmodModel"]}),
    Family("language", "canine", {"s": {}}, "b1-s512", {"architectures": ["CanineModel"]}),
    Family("language", "dpr", {"base": {}}, "b1-s128 b32-s256"),
    Family("language", "ibert", {"base": {}}, "b1-s128"),
    Family("language", "yoso", {"base": {}}, "b1-s128"),
    Family("language", "mra", {"base": {}}, "b1-s512"),
    Family("language", "markuplm", {"base": {}}, "b1-s256", {"architectures": ["MarkupLMModel"]}),
    Family("language", "perceiver", {"": {}}, "b1-s512", {"architectures": ["PerceiverForSequenceClassification"]}),
    Family("language", "splinter", {"base": {}}, "b1-s256"),
)  # fmt: skip

DECODERS = (
    Family("language", "gpt2", {
        "distil": {"n_layer": 6, "n_embd": 768, "n_head": 12}, "small": {"n_layer": 12, "n_embd": 768, "n_head": 12},
        "medium": {"n_layer": 24, "n_embd": 1024, "n_head": 16}, "large": {"n_layer": 36, "n_embd": 1280, "n_head": 20},
    }, DECODER),
    Family("language", "gpt_neox", {
        "pythia-14m": bert(6, 128, num_attention_heads=4), "pythia-70m": bert(6, 512, num_attention_heads=8),
        "pythia-160m": bert(12, 768, num_attention_heads=12), "pythia-410m": bert(24, 1024, num_attention_heads=16),
        "pythia-1b": bert(16, 2048, num_attention_heads=8), "pythia-1.4b": bert(24, 2048, num_attention_heads=16),
    }, DECODER, {"vocab_size": 50304}, BF16),
    Family("language", "gpt_neo", {"125m": {"num_layers": 12, "hidden_size": 768, "num_heads": 12, "attention_types": [[["global", "local"], 6]]}}, DECODER, {}, BF16),
    Family("language", "gptj", {"6b": {"n_layer": 28}}, "b1-s512", {}, BF16),
    Family("language", "gpt_bigcode", {"santacoder": {"n_layer": 24, "n_embd": 2048, "n_head": 16}}, "b1-s512", {}, BF16),
    Family("language", "codegen", {"350m": {"n_layer": 20, "n_embd": 1024, "n_head": 16, "n_ctx": 2048, "rotary_dim": 32}}, DECODER, {}, BF16),
    Family("language", "openai-gpt", {"": {"n_layer": 12}}, "b1-s512"),
    Family("language", "ctrl", {"12": {"n_layer": 12}}, "b1-s256"),
    Family("language", "opt", {
        "125m": opt(12, 768, 12), "1.3b": opt(24, 2048, 32), "6.7b": opt(32, 4096, 32),
    }, DECODER, {}, BF16),
    Family("language", "bloom", {"560m": {"hidden_size": 1024, "n_layer": 24, "n_head": 16}, "1b1": {"hidden_size": 1536, "n_layer": 24, "n_head": 16}}, "b1-s512", {"vocab_size": 250880}, BF16),
    Family("language", "xglm", {"564m": {"num_layers": 24, "d_model": 1024, "ffn_dim": 4096, "attention_heads": 16}}, "b1-s512", {}, BF16),
    Family("language", "biogpt", {"": {"num_hidden_layers": 24}}, "b1-s512"),
    Family("language", "llama", {
        "stories-15m": llama(6, 288, 768, 6, 6), "stories-42m": llama(8, 512, 1376, 8, 8),
        "stories-110m": llama(12, 768, 2048, 12, 12),
        "smollm-135m": llama(30, 576, 1536, 9, 3, vocab_size=49152),
        "3.2-1b": llama(16, 2048, 8192, 32, 8, vocab_size=128256, head_dim=64),
        "tinyllama-1.1b": llama(22, 2048, 5632, 32, 4), "7b": llama(32, 4096, 11008, 32, 32),
        "13b": llama(40, 5120, 13824, 40, 40),
    }, DECODER, {}, BF16),
    Family("language", "mistral", {"7b": llama(32, 4096, 14336, 32, 8)}, DECODER, {}, BF16),
    Family("language", "qwen2", {
        "0.5b": llama(24, 896, 4864, 14, 2, vocab_size=151936), "1.5b": llama(28, 1536, 8960, 12, 2, vocab_size=151936),
    }, DECODER, {}, BF16),
    Family("language", "qwen3", {"0.6b": llama(28, 1024, 3072, 16, 8, head_dim=128, vocab_size=151936)}, DECODER, {}, BF16),
    Family("language", "gemma", {"2b": llama(18, 2048, 16384, 8, 1, head_dim=256)}, DECODER, {}, BF16),
    Family("language", "gemma2", {"2b": {"num_hidden_layers": 26}}, "b1-s512", {}, BF16),
    Family("language", "phi", {"1": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32}}, DECODER, {}, BF16),
    Family("language", "phi3", {"mini": {"num_hidden_layers": 32}}, "b1-s512", {}, BF16),
    Family("language", "falcon", {"rw-1b": {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32, "multi_query": False, "parallel_attn": False, "bias": True}}, "b1-s512", {}, BF16),
    Family("language", "mpt", {"1b": {"d_model": 2048, "n_heads": 16, "n_layers": 24, "vocab_size": 50368}}, "b1-s512", {}, BF16),
    Family("language", "olmo2", {"1b": llama(16, 2048, 8192, 16, 16, vocab_size=100352)}, DECODER, {}, BF16),
    Family("language", "stablelm", {"1.6b": llama(24, 2048, 5632, 32, 32, vocab_size=100352)}, "b1-s512", {}, BF16),
    Family("language", "starcoder2", {"3b": llama(30, 3072, 12288, 24, 2)}, "b1-s512", {}, BF16),
    Family("language", "persimmon", {"4": {"num_hidden_layers": 4}}, "b1-s512", {}, BF16),
    Family("language", "cohere", {"8": {"num_hidden_layers": 8, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}}, "b1-s512", {}, BF16),
    Family("language", "granite", {"2b": llama(40, 2048, 8192, 32, 8, vocab_size=49152)}, "b1-s512", {}, BF16),
    Family("language", "smollm3", {"3b": llama(36, 2048, 11008, 16, 4, vocab_size=128256)}, "b1-s512", {}, BF16),
    Family("language", "helium", {"2b": {"num_hidden_layers": 24}}, "b1-s512", {}, BF16),
    Family("language", "mamba", {"130m-6": {"num_hidden_layers": 6}}, "b1-s8", {}, BF16),
    Family("language", "mamba2", {"6": {"num_hidden_layers": 6}}, "b1-s64", {}, BF16),
    Family("language", "recurrent_gemma", {"6": {"num_hidden_layers": 6}}, "b1-s32", {}, BF16),
    Family("language", "rwkv", {"2": {"num_hidden_layers": 2}}, "b1-s8"),
    Family("language", "lfm2", {"350m": {"hidden_size": 1024, "num_hidden_layers": 16, "intermediate_size": 6656, "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 65536}}, "b1-s256", {}, BF16),
)  # fmt: skip

ENCODER_DECODERS = (
    Family("language", "t5", {
        "efficient-tiny": t5(4, 256, 1024, 4), "efficient-mini": t5(4, 384, 1536, 8),
        "small": t5(6, 512, 2048, 8), "base": t5(12, 768, 3072, 12), "large": t5(24, 1024, 4096, 16),
    }, "b1-s128 b8-decode-c256"),
    Family("language", "mt5", {"small": t5(8, 512, 1024, 6, vocab_size=250112, feed_forward_proj="gated-gelu")}, "b1-s128"),
    Family("language", "longt5", {"small": t5(6, 512, 1024, 6)}, "b1-s256"),
    Family("language", "bart", {
        "tiny": bart(2, 256, 4), "base": bart(6, 768, 12), "large": bart(12, 1024, 16),
    }, "b1-s128 b8-decode-c256"),
    Family("language", "mbart", {"6": bart(6, 1024, 16, vocab_size=250027)}, "b1-s128"),
    Family("language", "marian", {"opus": bart(6, 512, 8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, vocab_size=58101)}, "b1-s128 b16-s64"),
    Family("language", "pegasus", {"12": bart(12, 1024, 16, vocab_size=96103)}, "b1-s128"),
    Family("language", "blenderbot-small", {"90m": bart(8, 512, 16, encoder_ffn_dim=2048, decoder_ffn_dim=2048)}, "b1-s128"),
    Family("language", "m2m_100", {"418m": bart(12, 1024, 16, vocab_size=128112)}, "b1-s128"),
    Family("language", "plbart", {"base": bart(6, 768, 12, vocab_size=50005)}, "b1-s128"),
    Family("language", "prophetnet", {"6": {"num_encoder_layers": 6, "num_decoder_layers": 6}}, "b1-s64"),
)  # fmt: skip

EXPERTS = (
    Family("experts", "mixtral", {"4": llama(4, 4096, 14336, 32, 8), "8x7b": llama(32, 4096, 14336, 32, 8)}, DECODER, {}, BF16),
    Family("experts", "qwen2_moe", {"6": {"num_hidden_layers": 6}, "a2.7b": {"num_hidden_layers": 24}}, DECODER, {}, BF16),
    Family("experts", "qwen3_moe", {"8": {"num_hidden_layers": 8, "num_experts": 128}}, DECODER, {}, BF16),
    Family("experts", "olmoe", {"1b-7b": {"num_hidden_layers": 16}}, DECODER, {}, BF16),
    Family("experts", "granitemoe", {"1b": {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 512, "num_attention_heads": 16, "num_key_value_heads": 8, "num_local_experts": 32, "num_experts_per_tok": 8}}, DECODER, {}, BF16),
    Family("experts", "phimoe", {"8": {"num_hidden_layers": 8}}, "b1-s512", {}, BF16),
    Family("experts", "gpt_oss", {"6": {"num_hidden_layers": 6}, "20b": {"num_hidden_layers": 24, "num_local_experts": 32}}, "b1-s512", {}, BF16),
    Family("experts", "deepseek_v2", {
        "8": {"num_hidden_layers": 8}, "lite": {"num_hidden_layers": 27},
    }, "b1-s512", {"hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_attention_heads": 16, "num_key_value_heads": 16, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6, "q_lora_rank": None, "first_k_dense_replace": 1, "vocab_size": 102400}, BF16),
    Family("experts", "deepseek_v3", {"5": {"num_hidden_layers": 5}}, "b1-s512", {}, BF16),
    Family("experts", "ernie4_5_moe", {"8": {"num_hidden_layers": 8}}, "b1-s512", {}, BF16),
    Family("experts", "llama4_text", {"8": {"num_hidden_layers": 8}}, "b1-s512", {}, BF16),
    Family("experts", "glm4_moe", {"8": {"num_hidden_layers": 8}}, "b1-s512", {}, BF16),
    Family("experts", "minimax", {"6": {"num_hidden_layers": 6}}, "b1-s512", {}, BF16),
    Family("experts", "aria_text", {"8": {"num_hidden_layers": 8}}, "b1-s512", {}, BF16),
    Family("experts", "jamba", {"4": {"num_hidden_layers": 4}}, "b1-s32", {}, BF16),
    Family("experts", "qwen3_next", {"4": {"num_hidden_layers": 4}}, "b1-s64", {}, BF16),
    Family("experts", "flex_olmo", {"8": {"num_hidden_layers": 8}}, "b1-s512", {}, BF16),
)  # fmt: skip

LANGUAGE = (*ENCODERS, *DECODERS, *ENCODER_DECODERS, *EXPERTS)
