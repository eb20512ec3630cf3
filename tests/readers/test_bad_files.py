# SPDX-License-Identifier: Apache-2.0
"""Every malformed file gives its message: the whole text, so that it does not rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagewright.errors import InputError
from stagewright.readers import load

BAD = Path(__file__).parent.parent / "data" / "bad"
EXPECTED: dict[str, str] = json.loads((BAD / "expected.json").read_text())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_malformed_file_gives_its_message(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load(BAD / name)
    assert str(caught.value) == f"{BAD / name}{EXPECTED[name]}"
    assert caught.value.exit_code == 2


def test_every_file_has_a_message() -> None:
    assert {p.name for p in BAD.iterdir()} == {*EXPECTED, "expected.json"}
