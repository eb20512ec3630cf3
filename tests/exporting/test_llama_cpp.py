# SPDX-License-Identifier: Apache-2.0
"""llama.cpp itself puts the layers where the exported `--tensor-split` means them to be.

Needs `llama-completion` and `ggml-rpc-server` on the PATH, built with GGML_RPC (docs/exporting.md), and the
package `gguf`, which writes a small model with random weights.  Servers on this machine stand in for GPUs.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.exporting.test_layers import counts, decoder, plan_of

import stagewright as sw

WIDTH, HEADS, INNER = 32, 2, 64


def write_model(path: Path, layers: int) -> None:
    """Write a Llama of `layers` layers with random weights and a vocabulary of bytes."""
    gguf: Any = pytest.importorskip("gguf", reason="writes llama.cpp's files: pip install gguf")
    rng = np.random.default_rng(layers)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([int(kind) for kind in kinds])
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (len(tokens), WIDTH),
        "output": (len(tokens), WIDTH),
        "output_norm": (WIDTH,),
    }
    for i in range(layers):
        square, wide = (WIDTH, WIDTH), (INNER, WIDTH)
        shapes |= {f"blk.{i}.attn_{part}": square for part in ("q", "k", "v", "output")}
        shapes |= {f"blk.{i}.ffn_gate": wide, f"blk.{i}.ffn_up": wide}
        shapes |= {f"blk.{i}.ffn_down": (WIDTH, INNER)}
        shapes |= {f"blk.{i}.attn_norm": (WIDTH,), f"blk.{i}.ffn_norm": (WIDTH,)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(0, 0.1, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextlib.contextmanager
def servers(program: str, count: int) -> Iterator[list[str]]:
    """Run `count` servers; yield their addresses once they listen."""
    ports = []
    for _ in range(count):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen([program, "-p", str(p)], **quiet) for p in ports]  # type: ignore[call-overload]
    try:
        until = time.monotonic() + 30
        for port in ports:
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
        yield [f"127.0.0.1:{port}" for port in ports]
    finally:
        for server in running:
            server.kill()
            server.wait()


@pytest.mark.parametrize(("layers", "stages"), [(7, 2), (13, 4), (32, 3)])
def test_llama_cpp_puts_the_layers_there(layers: int, stages: int, tmp_path: Path) -> None:
    program, server = shutil.which("llama-completion"), shutil.which("ggml-rpc-server")
    if program is None or server is None:
        pytest.skip("needs llama-completion and ggml-rpc-server: see docs/exporting.md")
    write_model(model := tmp_path / "model.gguf", layers)
    result = plan_of(decoder(layers, seed=layers), stages)
    export = sw.export(result, "llama.cpp").value
    found = counts(sw.export(result, "vllm"))
    with servers(server, len(found)) as addresses:
        said = subprocess.run(
            [program, "-m", str(model), "-p", "a", "-n", "1", "-no-cnv", "-v", "--no-warmup",
             "--rpc", ",".join(addresses), "--split-mode", "layer",
             "-ngl", str(export["n_gpu_layers"]),
             "--tensor-split", ",".join(str(share) for share in export["tensor_split"])],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=120, check=False,
        )  # fmt: skip
    assert said.returncode == 0, said.stderr[-2000:]
    lines = re.findall(r"layer +(\d+) assigned to device (\S+),", said.stdout + said.stderr)
    places = {int(layer): device for layer, device in lines}
    assert sorted(places) == list(range(layers + 1))
    devices = list(dict.fromkeys(places[i] for i in range(layers + 1)))
    assert len(devices) == len(found)
    # The last of them is the output, which stays with the last layer.
    assert [[places[i] for i in range(layers)].count(device) for device in devices] == found
    assert places[layers] == devices[-1]
