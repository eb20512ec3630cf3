# SPDX-License-Identifier: Apache-2.0
"""Architectures of Hugging Face transformers: read from configurations, planned, checked.

Published operations count a multiply-add once, as their sources do, and are doubled here.  Where nothing is
published for just this input, and the layers are plain, what is compared with is a formula: the matrix products.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import header, row, table

TEXT = 512


@dataclass(frozen=True)
class Case:
    """A configuration, how it is read, and what is published about it.

    Attributes
    ----------
    flops, counted
        Operations with a multiply-add as two, and who counted them; 0 where no figure is known.
    params, source
        Number of parameters, and who gives it.
    why
        What explains a difference of more than two in a hundred.
    """

    name: str
    config: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    flops: float = 0
    counted: str = ""
    params: float = 0
    source: str = ""
    why: str = ""


def case(name: str, kind: str, *, flops: float = 0, counted: str = "formula", params: float = 0, source: str = "",
         why: str = "", options: dict[str, Any] | None = None, **config: Any) -> Case:  # fmt: skip
    config = {"model_type": kind, **config}
    return Case(name, config, options or {}, flops, counted if flops else "", params, source, why)


def products(sequence: int, layers: int, width: int, inner: int = 0, *, keys: int = 0, gated: bool = False,
             vocabulary: int = 0) -> float:  # fmt: skip
    """Return the operations of a transformer's matrix products, a multiply-add as two.

    Parameters
    ----------
    width, inner, keys
        Of the model, its feed-forward layers (four times the width unless given), its keys.
    gated
        True if feed-forward layers have three matrices rather than two.
    vocabulary
        Tokens that the last layer scores; 0 without one.
    """
    attention = 2 * width * width + 2 * width * (keys or width)
    forward = (3 if gated else 2) * width * (inner or 4 * width)
    scores = 2 * sequence * width  # queries times keys, weights times values, for one token
    return 2 * sequence * (layers * (attention + forward + scores) + width * vocabulary)


def llama(**sizes: Any) -> dict[str, Any]:
    return {"architectures": ["LlamaForCausalLM"], **sizes}


BF16 = {"sequence": TEXT, "dtype": "bfloat16"}
RESNET = {"model_type": "resnet", "out_features": ["stage4"]}

CASES: tuple[Case, ...] = (
    # encoders
    case("BERT-base, 128", "bert", architectures=["BertModel"], options={"sequence": 128},
         flops=products(128, 12, 768), params=109.5e6, source="Devlin et al. 2019"),
    case("RoBERTa-base", "roberta", vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, params=125e6,
         options={"sequence": 512}, flops=products(512, 12, 768, vocabulary=50265), source="Liu et al. 2019"),
    case("ALBERT-base", "albert", architectures=["AlbertModel"], hidden_size=768, intermediate_size=3072,
         num_attention_heads=12, flops=products(512, 12, 768), params=12e6, source="Lan et al. 2020, table 1",
         why="the published number of parameters is rounded to a million"),
    case("DistilBERT, 128", "distilbert", architectures=["DistilBertModel"], options={"sequence": 128},
         flops=products(128, 6, 768), params=66e6, source="Sanh et al. 2019"),
    case("ELECTRA-base", "electra", architectures=["ElectraModel"], embedding_size=768, hidden_size=768,
         intermediate_size=3072, num_attention_heads=12, flops=products(512, 12, 768), params=110e6, source="Clark et al. 2020"),
    case("DeBERTa-base", "deberta", architectures=["DebertaModel"], relative_attention=True, pos_att_type=["c2p", "p2c"],
         position_biased_input=False, vocab_size=50265, type_vocab_size=0),
    case("DeBERTa-v3-base", "deberta-v2", architectures=["DebertaV2Model"], hidden_size=768, num_hidden_layers=12,
         num_attention_heads=12, intermediate_size=3072, relative_attention=True, pos_att_type=["p2c", "c2p"],
         position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False, type_vocab_size=0,
         vocab_size=128100, params=184e6, source="He et al. 2023",
         why="projected relative positions do not depend on the input: each layer holds them, beside the projections"),
    case("MPNet-base", "mpnet", architectures=["MPNetModel"], flops=products(512, 12, 768)),
    case("XLNet-base", "xlnet", architectures=["XLNetModel"], d_model=768, n_layer=12, n_head=12, d_inner=3072),
    case("Longformer-base", "longformer", architectures=["LongformerModel"]),
    case("BigBird-base", "big_bird", architectures=["BigBirdModel"], attention_type="original_full",
         flops=products(512, 12, 768)),
    case("LayoutLM-base", "layoutlm", architectures=["LayoutLMModel"], flops=products(512, 12, 768), params=113e6, source="Xu et al. 2020"),
    case("ModernBERT-base", "modernbert", params=149e6, source="Warner et al. 2024"),
    # decoders
    case("GPT-2", "gpt2", options=BF16, flops=products(TEXT, 12, 768, vocabulary=50257), params=124.4e6, source="released weights"),
    case("GPT-Neo-1.3B", "gpt_neo", options=BF16, params=1.316e9, source="released weights",
         flops=products(TEXT, 24, 2048, vocabulary=50257), why="each layer holds a mask of 2048 x 2048"),
    case("GPT-NeoX-20B", "gpt_neox", options=BF16, flops=products(TEXT, 44, 6144, vocabulary=50432),
         params=20.55e9, source="Black et al. 2022"),
    case("GPT-J-6B", "gptj", options=BF16, flops=products(TEXT, 28, 4096, vocabulary=50400), params=6.05e9, source="released weights"),
    case("OPT-125M", "opt", options=BF16, flops=products(TEXT, 12, 768, vocabulary=50272), params=125.2e6, source="Zhang et al. 2022"),
    case("BLOOM-560M", "bloom", options=BF16, hidden_size=1024, n_layer=24, n_head=16, vocab_size=250880,
         flops=products(TEXT, 24, 1024, vocabulary=250880), params=559.2e6, source="BigScience 2022"),
    case("Llama-7B", "llama", options=BF16, flops=products(TEXT, 32, 4096, 11008, gated=True, vocabulary=32000),
         params=6.738e9, source="Touvron et al. 2023", **llama()),
    case("Llama-2-70B", "llama", options=BF16, params=68.98e9,
         flops=products(TEXT, 80, 8192, 28672, keys=1024, gated=True, vocabulary=32000), source="Touvron et al. 2023",
         **llama(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
                 num_key_value_heads=8)),
    case("Llama-2-70B, decode 4096", "llama", options={"phase": "decode", "cache": 4096, "dtype": "bfloat16"},
         **llama(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
                 num_key_value_heads=8)),
    case("Mistral-7B", "mistral", options=BF16, params=7.242e9,
         flops=products(TEXT, 32, 4096, 14336, keys=1024, gated=True, vocabulary=32000), source="Jiang et al. 2023"),
    case("Mixtral-8x7B", "mixtral", options=BF16, params=46.70e9,
         flops=products(TEXT, 32, 4096, 2 * 14336, keys=1024, gated=True, vocabulary=32000), source="Jiang et al. 2024"),
    case("Gemma-7B", "gemma", options=BF16, params=8.54e9, source="Gemma Team 2024"),
    case("Gemma-2-2B", "gemma2", options=BF16, params=2.614e9, source="Gemma Team 2024"),
    case("Gemma-3-1B", "gemma3_text", options=BF16, hidden_size=1152, num_hidden_layers=26, intermediate_size=6912,
         num_attention_heads=4, num_key_value_heads=1, head_dim=256, vocab_size=262144, params=1.0e9,
         source="Gemma Team 2025"),
    case("Qwen2-7B", "qwen2", options=BF16, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
         num_attention_heads=28, num_key_value_heads=4, vocab_size=152064, params=7.616e9,
         flops=products(TEXT, 28, 3584, 18944, keys=512, gated=True, vocabulary=152064), source="Yang et al. 2024"),
    case("Qwen3-8B", "qwen3", options=BF16, hidden_size=4096, intermediate_size=12288, num_hidden_layers=36,
         num_attention_heads=32, num_key_value_heads=8, head_dim=128, vocab_size=151936, params=8.19e9,
         flops=products(TEXT, 36, 4096, 12288, keys=1024, gated=True, vocabulary=151936),
         source="Yang et al. 2025"),
    case("Qwen2-MoE-A2.7B", "qwen2_moe", options=BF16, params=14.3e9, source="Qwen Team 2024"),
    case("Phi-2", "phi", options=BF16, hidden_size=2560, intermediate_size=10240, num_hidden_layers=32,
         num_attention_heads=32, partial_rotary_factor=0.4, flops=products(TEXT, 32, 2560, vocabulary=51200), params=2.78e9, source="released weights"),
    case("Phi-3-mini", "phi3", options=BF16, flops=products(TEXT, 32, 3072, 8192, gated=True, vocabulary=32064), params=3.82e9, source="Abdin et al. 2024"),
    case("Falcon-7B", "falcon", options=BF16, num_attention_heads=71, flops=products(TEXT, 32, 4544, keys=64, vocabulary=65024), params=6.92e9, source="released weights"),
    case("MPT-7B", "mpt", options=BF16, d_model=4096, n_heads=32, n_layers=32, vocab_size=50432,
         max_seq_len=2048, flops=products(TEXT, 32, 4096, vocabulary=50432), params=6.65e9, source="released weights"),
    case("OLMo-2-7B", "olmo2", options=BF16, vocab_size=100352, flops=products(TEXT, 32, 4096, 11008, gated=True, vocabulary=100352), params=7.3e9, source="OLMo Team 2024"),
    case("StableLM-3B", "stablelm", options=BF16, flops=products(TEXT, 32, 2560, 6912, gated=True, vocabulary=50304), params=2.8e9, source="released weights"),
    case("Cohere Command-R", "cohere", options=BF16),
    case("StarCoder2-3B", "starcoder2", options=BF16, num_hidden_layers=30, flops=products(TEXT, 30, 3072, 12288, keys=256, vocabulary=49152), params=3.03e9, source="Lozhkov et al. 2024"),
    case("GPT-OSS-20B", "gpt_oss", options=BF16, num_hidden_layers=24, num_local_experts=32, params=20.9e9,
         source="OpenAI 2025"),
    case("DeepSeek-V2-Lite", "deepseek_v2", options=BF16, hidden_size=2048, intermediate_size=10944,
         moe_intermediate_size=1408, num_hidden_layers=27, num_attention_heads=16, num_key_value_heads=16,
         n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=6, q_lora_rank=None, first_k_dense_replace=1,
         vocab_size=102400, params=15.7e9, source="DeepSeek-AI 2024"),
    case("Mamba-130M, 32", "mamba", options={**BF16, "sequence": 32}, num_hidden_layers=24, params=129e6, source="Gu and Dao 2023"),
    # encoder and decoder
    case("T5-small", "t5", params=60.5e6, source="Raffel et al. 2020"),
    case("T5-small, decode 512", "t5", options={"phase": "decode", "cache": 512}),
    case("BART-large", "bart", params=406e6, source="Lewis et al. 2020"),
    case("Pegasus-large", "pegasus", vocab_size=96103, params=568e6, source="Zhang et al. 2020",
         encoder_layers=16, decoder_layers=16),
    case("M2M-100-418M", "m2m_100", params=484e6, vocab_size=128112, encoder_layers=12, decoder_layers=12),
    case("Whisper-tiny", "whisper", d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6,
         decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536, vocab_size=51865, params=37.8e6,
         source="Radford et al. 2022"),
    # vision
    case("ViT-B/16", "vit", architectures=["ViTForImageClassification"], num_labels=1000, flops=2 * 17.56e9,
         counted="torchvision documentation", params=86.6e6, source="torchvision"),
    case("DeiT-B", "deit", num_labels=1000, params=86e6, source="Touvron et al. 2021"),
    case("Swin-T", "swin", num_labels=1000, flops=2 * 4.5e9, counted="table of the authors' repository", params=28.3e6, source="Liu et al. 2021"),
    case("Swin-V2-T", "swinv2", image_size=256, num_labels=1000, window_size=8, flops=2 * 5.94e9,
         counted="torchvision documentation", params=28.3e6,
         source="Liu et al. 2022"),
    case("ConvNeXt-T", "convnext", num_labels=1000, flops=2 * 4.46e9, counted="torchvision documentation", params=28.6e6, source="Liu et al. 2022"),
    case("ConvNeXt-V2-T", "convnextv2", num_labels=1000, params=28.6e6, source="Woo et al. 2023"),
    case("ResNet-50", "resnet", num_labels=1000, flops=2 * 4.09e9, counted="torchvision documentation", params=25.6e6, source="torchvision"),
    case("MobileNetV2", "mobilenet_v2", num_labels=1001, flops=2 * 0.301e9, counted="torchvision documentation",
         params=3.5e6, source="Sandler et al. 2018", why="published figures count convolutions alone"),
    case("EfficientNet-B7", "efficientnet", num_labels=1000, depthwise_padding=[18], flops=2 * 37.746e9, counted="torchvision documentation", params=66e6, source="Tan and Le 2019"),
    case("BEiT-B", "beit", num_labels=1000, params=87e6, source="Bao et al. 2022"),
    case("DINOv2-B", "dinov2", architectures=["Dinov2Model"], image_size=518, patch_size=14, params=86.6e6,
         source="Oquab et al. 2024"),
    case("CLIP ViT-B/32", "clip", params=151.3e6, source="released weights"),
    case("SigLIP-B/16", "siglip", params=203e6, source="Zhai et al. 2023"),
    case("BLIP-base", "blip", architectures=["BlipModel"]),
    case("DETR-R50", "detr", use_timm_backbone=False, backbone=None, backbone_config=RESNET, num_labels=91,
         options={"shapes": {"pixel_values": [1, 3, 800, 1066]}}, params=41e6,
         source="Carion et al. 2020"),
    case("SegFormer-B0", "segformer", architectures=["SegformerForSemanticSegmentation"], num_labels=150, options={"shapes": {"pixel_values": [1, 3, 512, 512]}},
         params=3.8e6, source="Xie et al. 2021"),
    case("DPT-large", "dpt", architectures=["DPTForDepthEstimation"], hidden_size=1024, num_hidden_layers=24,
         num_attention_heads=16, intermediate_size=4096, image_size=384, neck_hidden_sizes=[256, 512, 1024, 1024], backbone_out_indices=[5, 11, 17, 23],
         params=343e6, source="Ranftl et al. 2021"),
    case("YOLOS-base", "yolos", image_size=[800, 1344], params=127e6, source="Fang et al. 2021"),
    # sound
    case("wav2vec 2.0 base, 10 s", "wav2vec2", params=95e6, source="Baevski et al. 2020"),
    case("HuBERT-base, 10 s", "hubert", params=95e6, source="Hsu et al. 2021"),
    case("AST-base", "audio-spectrogram-transformer", num_labels=527, params=87e6, source="Gong et al. 2021"),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What one case gave; `reason` says why it gave nothing."""

    nodes: int = 0
    read_seconds: float = 0.0
    memory: float = 0.0
    flops: int = 0
    params: float = 0.0
    copied: int = 0
    warning: str = ""
    status: str = ""
    gap: float = 0.0
    plan_seconds: float = 0.0
    checked: str = ""
    reason: str = ""


def study(case: Case, stages: int, device: str, limit: float) -> Found:
    """Read, plan and check one case."""
    import warnings

    import stagewright as sw
    from stagewright.cost.catalogue import load_catalogue
    from stagewright.errors import StagewrightError
    from stagewright.readers.hf_model import read_config
    from stagewright.shaping.shape import estimate

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Path(folder, "config.json").write_text(json.dumps(case.config))
        start = time.perf_counter()
        try:
            graph = read_config(folder, **case.options)
        except StagewrightError as error:
            return Found(reason=str(error).replace(folder, "").strip(" ()"))
        seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    notes = [str(w.message) for w in caught if "Stagewright" in w.category.__name__]
    width = 2 if case.options.get("dtype") == "bfloat16" else 4
    result = sw.plan(
        estimate(graph, load_catalogue().device(device)), stages, device=device, time_limit=limit
    )
    report = sw.check(result.graph, result)
    return Found(
        nodes=graph.num_nodes,
        read_seconds=seconds,
        memory=memory,
        flops=int(graph.flops.sum()),
        params=int(graph.param_bytes.sum()) / width,
        copied=int(graph.replicable.sum()),
        warning=notes[0].partition("): ")[2] if notes else "",
        status=result.status,
        gap=result.gap or 0.0,
        plan_seconds=result.solution.seconds,
        checked={0: "verified", 1: "INVALID", 3: "valid"}[report.exit_code],
    )


def apart(work: Callable[[], Found], limit: float) -> Found:
    """Run in a forked process, so that memory is its own and a limit holds."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)

    def send() -> None:
        try:
            theirs.send(work())
        except Exception as error:  # noqa: BLE001 - a table shows what failed and goes on
            theirs.send(Found(reason=f"{type(error).__name__}: {error}"))

    process = context.Process(target=send)
    process.start()
    theirs.close()
    found = Found(reason=f"no answer within {limit:g} s")
    if mine.poll(limit):
        try:
            found = mine.recv()
        except EOFError:
            found = Found(reason="the process died")
    process.kill()
    process.join()
    return found


class Results:
    """What the cases gave, one JSON object a line, so that a run that was cut off goes on where it stopped."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.found: dict[str, Found] = {}
        for line in path.read_text().splitlines() if path and path.exists() else ():
            entry = json.loads(line)
            name = entry.pop("name")
            self.found[name] = Found(**entry)

    def add(self, name: str, found: Found) -> Found:
        """Keep one case, on disk too."""
        self.found[name] = found
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps({"name": name, **asdict(found)}) + "\n")
        return found


def off(found: float, published: float) -> str:
    return f"{100 * (found / published - 1):+.1f}" if published else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--first", default="", help="name of the case to start with")
    parser.add_argument("--stages", type=int, default=8)
    parser.add_argument("--device", default="h100-sxm")
    parser.add_argument("--time-limit", type=float, default=10.0, help="of each plan, seconds")
    parser.add_argument("--limit", type=float, default=180.0, help="of each case, seconds")
    parser.add_argument(
        "--results", type=Path, help="file of results, a line each; cases in it are not run again"
    )
    options = parser.parse_args()
    header(f"Architectures, k = {options.stages}, {options.device}")
    import torch
    import transformers

    torch.set_num_threads(1)
    import torch.export

    print(f"torch {torch.__version__}, transformers {transformers.__version__}\n")
    table(
        ["model", "nodes", "copied", "read s", "GiB", "GFLOP", "expected", "diff %", "counted by", "M params",
         "published", "diff %", "status", "gap %", "plan s", "check"]
    )  # fmt: skip
    failed, warned, explained, seen = [], [], [], Counter[str]()
    kept = Results(options.results)
    names = [one.name for one in CASES]
    for one in CASES[names.index(options.first) if options.first else 0 :]:
        if options.only.lower() not in one.name.lower():
            continue
        found = kept.found.get(one.name) or kept.add(
            one.name,
            apart(
                lambda one=one: study(one, options.stages, options.device, options.time_limit),  # type: ignore[misc]  # a default binds the case
                options.limit,
            ),
        )
        if found.reason:
            failed.append((one.name, found.reason))
            row([one.name, *["-"] * 11, "failed", "-", "-", "-"])
            continue
        seen[found.status] += 1
        if one.why:
            explained.append((one.name, one.why))
        if found.warning:
            warned.append((one.name, found.warning))
        row(
            [one.name, found.nodes, found.copied, f"{found.read_seconds:.1f}", f"{found.memory:.2f}",
             f"{found.flops / 1e9:.2f}", f"{one.flops / 1e9:.1f}" if one.flops else "-",
             off(found.flops, one.flops), one.counted or "-", f"{found.params / 1e6:.1f}",
             f"{one.params / 1e6:.1f}" if one.params else "-", off(found.params, one.params),
             found.status, f"{100 * found.gap:.3f}", f"{found.plan_seconds:.2f}", found.checked]
        )  # fmt: skip
    total = sum(seen.values())
    print(
        "\nformula: matrix products of the layers and of the head, from the configuration (`products`)."
    )
    print(f"\n{total} read, planned and checked: {dict(seen)}; {len(failed)} failed.")
    for title, rows in (("Failed", failed), ("Differs", explained), ("Estimated", warned)):
        for name, text in rows:
            print(f"- {title}: {name}: {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
