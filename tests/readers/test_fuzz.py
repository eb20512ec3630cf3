# SPDX-License-Identifier: Apache-2.0
"""Damaged files give errors of this package or graphs, never anything else."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path

import pytest

from stagewright.errors import InputError
from stagewright.readers import StagewrightWarning, load
from stagewright.readers.graph_file import write_graph_file

from .test_graph_file import full
from .test_onnx_totals import LIGHT, Bert

ROUNDS = 150


def assert_read_or_refused(path: Path, seed: int) -> None:
    message = str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StagewrightWarning)
            load(path)
    except InputError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"seed {seed}") from error
    assert str(path) in message


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return the content with a few bytes changed, removed or repeated."""
    made = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(made))
        match rng.randrange(4):
            case 0:
                made[at] = rng.randrange(256)
            case 1:
                made[at] ^= 1 << rng.randrange(8)
            case 2:
                del made[at : at + rng.randint(1, 8)]
            case 3:
                made[at:at] = made[at : at + rng.randint(1, 8)]
    return bytes(made)


def test_damaged_graph_files(tmp_path: Path) -> None:
    for name in ("g.json", "g.json.gz"):
        write_graph_file(full(), tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for seed in range(ROUNDS):
            (tmp_path / name).write_bytes(damaged(content, random.Random(seed)))
            assert_read_or_refused(tmp_path / name, seed)


def test_damaged_files_of_other_formats(tmp_path: Path) -> None:
    for sample in sorted((Path(__file__).parent.parent / "data" / "formats").iterdir()):
        content = sample.read_bytes()
        for seed in range(ROUNDS):
            path = tmp_path / sample.name
            path.write_bytes(damaged(content, random.Random(seed)))
            assert_read_or_refused(path, seed)


def test_workloads_with_a_value_replaced(tmp_path: Path) -> None:
    odd: list[object] = [None, -1, 0.5, 1e300, "x", {}, [0], float("nan")]
    for name in ("workload.json", "piper.json"):
        sample = Path(__file__).parent.parent / "data" / "formats" / name
        document = json.loads(sample.read_text())
        places = [(document, key) for key in document]
        for list_ in ("nodes", "edges"):
            places += [(row, inner) for row in document[list_] for inner in row]
        for row in document["nodes"]:
            for variants in row.get("TMPCs", {}).values():
                places += [(variant, inner) for variant in variants for inner in variant]
        for holder, key in places:
            kept = holder[key]
            for value in odd:
                holder[key] = value
                (tmp_path / name).write_text(json.dumps(document))
                assert_read_or_refused(tmp_path / name, 0)
            holder[key] = kept


def test_graph_files_with_a_value_replaced(tmp_path: Path) -> None:
    write_graph_file(full(), path := tmp_path / "g.json")
    document = json.loads(path.read_text())
    odd = [None, True, -1, 0.5, 1e300, 2**70, "", "x", [], {}, [0], [[0]], {"a": 1}]
    places = [(document, key) for key in document]
    for key in ("nodes", "tensors", "params"):
        places += [(row, inner) for row in document[key] for inner in row]
    for holder, key in places:
        kept = holder[key]
        for value in odd:
            holder[key] = value
            path.write_text(json.dumps(document))
            assert_read_or_refused(path, 0)
        holder[key] = kept


def test_damaged_models(tmp_path: Path) -> None:
    contents = [Bert(layers=1).model.SerializeToString()]
    if LIGHT.is_dir():
        contents.append((LIGHT / "light_squeezenet.onnx").read_bytes())
    bad = Path(__file__).parent.parent / "data" / "bad"
    contents += [p.read_bytes() for p in sorted(bad.glob("*.onnx")) if p.stat().st_size > 8]
    path = tmp_path / "model.onnx"
    for content in contents:
        for seed in range(ROUNDS if len(content) > 2000 else 20):
            path.write_bytes(damaged(content, random.Random(seed)))
            assert_read_or_refused(path, seed)


@pytest.mark.slow
def test_damaged_models_at_length(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    content = Bert(layers=1).model.SerializeToString()
    for seed in range(20_000):
        path.write_bytes(damaged(content, random.Random(seed)))
        assert_read_or_refused(path, seed)
