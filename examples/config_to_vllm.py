# SPDX-License-Identifier: Apache-2.0
"""From a Hugging Face configuration to the layers per rank that vLLM takes, without weights.

pip install 'stagewright[hf]'
python examples/config_to_vllm.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import stagewright as sw
from stagewright.readers.settings import ReadSettings

# Any model's config.json will do; this one is small, so that the example is quick.
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 10,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


def main() -> None:
    """Read, plan by layers, export."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(CONFIG))

        # The model is traced on tensors without data: shapes and sizes are all that is needed.
        settings = ReadSettings(sequence=256, phase="prefill")
        graph = sw.read(path, device="h100-sxm", settings=settings)
        print(f"{graph.num_nodes} nodes, {graph.param_bytes.sum() / 1e6:.0f} MB of parameters")

        # vLLM cuts between layers, so whole layers are the units.
        result = sw.plan(graph, 4, device="h100-sxm", granularity="layer", time_limit=10)
        print(f"bottleneck {result.bottleneck * 1e6:.1f} us, {result.status}")

        # The embedding and the output head count as well, so equal numbers of layers are rarely best. What vLLM
        # cannot express becomes the best plan that it can, with a proof of how good that is.
        found = sw.export(result, "vllm", round=True, model=result.graph)
        print(found.text.strip())
        for line in found.notes:
            print("vLLM cannot express:", line)


if __name__ == "__main__":
    main()
