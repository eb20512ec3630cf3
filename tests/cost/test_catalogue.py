# SPDX-License-Identifier: Apache-2.0
"""The catalogue: complete, sourced, extended by users, strict about faults."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from stagewright.cost.catalogue import ENVIRONMENT_VARIABLE, Catalogue, Device, load_catalogue
from stagewright.errors import InputError

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def _no_catalogue_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def device(**peak: int) -> Device:
    return Device("d", "gpu", peak, 10**9, None, 0, 0.5, 0.5, "usb3", "made up")


def test_built_in_names(catalogue: Catalogue) -> None:
    assert set(catalogue.devices) == {
        "a100-pcie-40gb",
        "a100-sxm-80gb",
        "coral-edge-tpu",
        "cpu-core",
        "h100-pcie",
        "h100-sxm",
        "h200-sxm",
        "jetson-orin",
        "l4",
        "npu-8mib",
        "tpu-v4",
        "tpu-v5e",
    }
    assert set(catalogue.links) == {
        "ethernet-100g",
        "ethernet-10g",
        "ethernet-25g",
        "ethernet-400g",
        "ici-v4",
        "ici-v5e",
        "nvlink3",
        "nvlink4",
        "pcie4-x16",
        "pcie4-x4",
        "pcie5-x16",
        "shared-memory",
        "usb3",
    }


def test_every_entry_is_sourced_and_sane(catalogue: Catalogue) -> None:
    for found in catalogue.devices.values():
        assert len(found.source) > 30, found.name
        assert found.link in catalogue.links
        assert 10**9 < min(found.peak.values()) <= max(found.peak.values()) < 10**16
        assert 10**10 <= found.memory_bandwidth < 10**13
        assert found.overhead <= 10_000_000
    for link in catalogue.links.values():
        assert len(link.source) > 30, link.name
        assert 10**8 < link.bandwidth < 10**12
        assert 0 < link.latency <= 10**8


def test_wider_types_are_never_faster(catalogue: Catalogue) -> None:
    for found in catalogue.devices.values():
        rates = [found.peak_rate(t) for t in ("float64", "float32", "float16", "int8")]
        assert rates == sorted(rates), found.name


def test_figures_are_read_exactly(catalogue: Catalogue) -> None:
    h100 = catalogue.device("h100-sxm")
    assert h100.peak["bfloat16"] == 989_500_000_000_000
    assert h100.memory_bandwidth == 3_350_000_000_000
    assert h100.memory == 80_000_000_000
    assert h100.overhead == 4_000_000
    assert catalogue.device("coral-edge-tpu").memory == 8 * 2**20
    assert catalogue.device("cpu-core").memory is None
    assert catalogue.link("ethernet-100g").bandwidth == 12_500_000_000


def test_extended_device_keeps_the_rest(catalogue: Catalogue) -> None:
    h100, h200 = catalogue.device("h100-sxm"), catalogue.device("h200-sxm")
    assert h200.peak == h100.peak
    assert (h200.name, h200.memory) == ("h200-sxm", 141_000_000_000)


@pytest.mark.parametrize(
    ("dtype", "peak", "rate"),
    [
        ("float16", {"float32": 2, "float16": 8}, 8),
        ("float16", {"float32": 2, "bfloat16": 7}, 7),
        ("bfloat16", {"float32": 2}, 2),
        ("int8", {"float32": 2, "float16": 8}, 8),
        ("int4", {"float32": 2, "int8": 9}, 9),
        ("float8e4m3fn", {"float32": 2, "float8": 9}, 9),
        ("float64", {"float32": 3}, Fraction(3, 2)),
        ("float64", {"float32": 3, "float64": 2}, 2),
        ("int64", {"float32": 3, "int8": 9}, 3),
        ("bool", {"float32": 3, "int8": 9}, 3),
        ("", {"float32": 3, "int8": 9}, 3),
        ("unheard-of", {"float32": 3}, 3),
        ("float32", {"int8": 9}, 9),
        ("float32", {"int8": 9, "float16": 5}, 5),
    ],
)
def test_fallback_of_element_types(dtype: str, peak: dict[str, int], rate: Fraction) -> None:
    assert device(**peak).peak_rate(dtype) == rate


def test_efficiency_is_the_decimal_written(catalogue: Catalogue) -> None:
    found = device(float32=10)
    assert found.compute_rate("float32") == 5
    assert catalogue.device("cpu-core").memory_rate == 16 * 10**9


def test_unknown_device_lists_near_ones(catalogue: Catalogue) -> None:
    with pytest.raises(InputError) as caught:
        catalogue.device("H100")
    assert str(caught.value) == (
        "device 'H100': expected the name of a device in the catalogue, got an unknown one. "
        "Did you mean h100-sxm or h100-pcie or h200-sxm? "
        "The command 'stagewright devices' lists them all."
    )


def test_unknown_link_without_near_ones(catalogue: Catalogue) -> None:
    with pytest.raises(InputError) as caught:
        catalogue.link("zzz")
    assert str(caught.value) == (
        "link 'zzz': expected the name of a link in the catalogue, got an unknown one. "
        "The command 'stagewright devices' lists them all."
    )


def test_users_file_adds_and_replaces() -> None:
    catalogue = load_catalogue(DATA / "good.toml")
    ours = catalogue.device("our-board")
    assert ours.peak == {"float32": 10**12, "int8": 1979 * 10**12, **_sixteen_bits()}
    assert ours.link == "our-cable"
    assert catalogue.link("our-cable").bandwidth == 1_000_000
    assert catalogue.device("our-board-slow").overhead == 9_000_000
    assert catalogue.device("l4").overhead == 7_000_000  # extends the built-in one of its name
    assert catalogue.device("l4").memory == 24_000_000_000


def _sixteen_bits() -> dict[str, int]:
    built_in = load_catalogue().device("h100-sxm").peak
    return {dtype: built_in[dtype] for dtype in ("float64", "float16", "bfloat16", "float8")}


def test_file_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(DATA / "good.toml"))
    assert "our-board" in load_catalogue().devices
    # The file given by hand comes last, and so wins.
    assert load_catalogue(DATA / "good_again.toml").device("our-board-slow").overhead == 1


BAD = {
    "bad_bare_number.toml": (
        "devices.x.memory_bandwidth: expected a text with a unit such as '3.35 TB/s', got 3"
    ),
    "bad_circle.toml": (
        "devices.b.extends: expected a device that does not extend this one, got a -> b -> a"
    ),
    "bad_dtype.toml": (
        "devices.x.peak.tf32: expected an element type out of float64, float32, float16, bfloat16, "
        "float8, float4, int8, uint8, int4, got another"
    ),
    "bad_efficiency.toml": (
        "devices.x.compute_efficiency: expected a fraction above 0 and at most 1, got 1.5"
    ),
    "bad_empty_peak.toml": (
        "devices.x.peak: expected a rate for at least one element type, got none"
    ),
    "bad_extends.toml": (
        "devices.x.extends: expected the name of a device in the catalogue, got 'h1000'. "
        "The command 'stagewright devices' lists them all."
    ),
    "bad_key.toml": (
        "devices.x.memroy: expected one of the keys kind, memory_bandwidth, memory, overhead, "
        "compute_efficiency, bandwidth_efficiency, link, source, peak, classes, caches, calibration, got an unknown key"
    ),
    "bad_link.toml": (
        "devices.x.link: expected the name of a link in the catalogue, got 'rope'. "
        "Add a table for the link, or use one that 'stagewright devices' lists."
    ),
    "bad_link_bandwidth.toml": (
        "links.x.bandwidth: expected a rate such as '3.35 TB/s' or '100 Gbit/s', got '3 GB'"
    ),
    "bad_memory.toml": (
        "devices.x.memory: expected a size such as '80 GB', or 'none' for no limit, got '80'"
    ),
    "bad_missing.toml": "devices.x.overhead: expected a value, got no such key",
    "bad_nan.toml": (
        "devices.x.bandwidth_efficiency: expected a fraction above 0 and at most 1, got nan"
    ),
    "bad_negative.toml": (
        "devices.x.overhead: expected a time such as 5us, 10ms or a number of seconds, got '-3 us'"
    ),
    "bad_rate.toml": (
        "devices.x.peak.float32: expected a rate above 0 such as '989 TFLOP/s' or '4 TOP/s', "
        "got '-5 TFLOP/s'"
    ),
    "bad_source.toml": "links.x.source: expected a non-empty text, got ' '",
    "bad_syntax.toml": "bad_syntax.toml: expected a TOML file, got a fault: ",
    "bad_table.toml": "devices.x: expected a table, got 3",
    "bad_top.toml": "device: expected only the tables 'devices' and 'links', got another",
}


def test_every_bad_file_is_tested() -> None:
    assert {path.name for path in DATA.glob("bad_*.toml")} == set(BAD)


@pytest.mark.parametrize("name", BAD)
def test_bad_file(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_catalogue(DATA / name)
    message = str(caught.value)
    assert message.startswith(str(DATA / name))
    assert BAD[name] in message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: expected a readable catalogue file, got No"):
        load_catalogue(tmp_path / "none.toml")
