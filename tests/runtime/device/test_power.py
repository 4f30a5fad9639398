"""What a Jetson draws, on trees of files as its L4T releases lay them out; readings are those of `tegrastats` on such modules."""

import json
from pathlib import Path
from typing import Dict, Tuple

import pytest

from edgekit.cli import main
from edgekit.runtime.device.power import read_power

OLD = "sys/bus/i2c/drivers/ina3221x"
NEW = "sys/bus/i2c/drivers/ina3221"


def old(device: str, iio: str, rails: Dict[str, int]) -> Dict[str, str]:
    """A sensor of L4T 32: mW by rail."""
    files = {}
    for channel, (name, milliwatts) in enumerate(rails.items()):
        folder = f"{OLD}/{device}/iio:{iio}"
        files[f"{folder}/rail_name_{channel}"] = name + "\n"
        files[f"{folder}/in_power{channel}_input"] = f"{milliwatts}\n"
    return files


def new(device: str, rails: Dict[str, Tuple[int, int]]) -> Dict[str, str]:
    """A sensor of L4T 34 and newer: mV and mA by rail, and the sum of shunt voltages, which is no rail."""
    folder = f"{NEW}/{device}/hwmon/hwmon3"
    files = {
        f"{folder}/in7_label": "sum of shunt voltages\n",
        f"{folder}/in7_input": "12\n",
        f"{folder}/name": "ina3221\n",
    }
    for channel, (name, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        files[f"{folder}/in{channel}_label"] = name + "\n"
        files[f"{folder}/in{channel}_input"] = f"{millivolts}\n"
        files[f"{folder}/curr{channel}_input"] = f"{milliamperes}\n"
    return files


TX2 = {
    **old("0-0040", "device0", {"VDD_SYS_GPU": 152, "VDD_SYS_SOC": 687, "VDD_4V0_WIFI": 0}),
    **old("0-0041", "device1", {"VDD_IN": 3056, "VDD_SYS_CPU": 152, "VDD_SYS_DDR": 883}),
}
AGX_XAVIER = {
    **old("1-0040", "device0", {"GPU": 0, "CPU": 311, "SOC": 932}),
    **old("1-0041", "device1", {"CV": 0, "VDDRQ": 621, "SYS5V": 1482}),
}
ORIN = new("1-0040", {"VDD_IN": (5000, 1060), "VDD_CPU_GPU_CV": (5000, 155), "NC": (0, 0)})
AGX_ORIN = new("1-0041", {"VDD_GPU_SOC": (20000, 257), "VDD_CPU_CV": (20000, 163)})


def tree(root: Path, files: Dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("ascii"))
    return str(root)


def test_a_tx2_tells_watts_by_rail_and_the_module_s_input_is_the_total(tmp_path: Path) -> None:
    power = read_power(tree(tmp_path, TX2))
    assert power is not None
    assert power.rails == {
        "VDD_SYS_GPU": 0.152, "VDD_SYS_SOC": 0.687, "VDD_4V0_WIFI": 0.0,
        "VDD_IN": 3.056, "VDD_SYS_CPU": 0.152, "VDD_SYS_DDR": 0.883,
    }  # fmt: skip
    assert (power.total, power.total_of) == (3.056, ("VDD_IN",))


def test_an_agx_xavier_has_no_total_rail_so_its_six_are_added(tmp_path: Path) -> None:
    power = read_power(tree(tmp_path, AGX_XAVIER))
    assert power is not None
    assert power.total == pytest.approx(3.346)
    assert len(power.total_of) == 6


def test_newer_releases_tell_volts_and_amperes(tmp_path: Path) -> None:
    power = read_power(tree(tmp_path, ORIN))
    assert power is not None
    assert power.rails == {
        "VDD_IN": pytest.approx(5.3),
        "VDD_CPU_GPU_CV": pytest.approx(0.775),
    }  # NC is not connected
    assert power.total == pytest.approx(5.3)


def test_rails_of_which_nobody_says_that_they_add_up_are_not_added(tmp_path: Path) -> None:
    power = read_power(tree(tmp_path, AGX_ORIN))
    assert power is not None
    assert power.rails["VDD_GPU_SOC"] == pytest.approx(5.14)
    assert (power.total, power.total_of) == (None, ())


def test_a_rail_that_cannot_be_read_is_none_and_so_is_the_total_that_needs_it(tmp_path: Path) -> None:
    missing = {
        name: text
        for name, text in AGX_XAVIER.items()
        if not name.endswith("1-0040/iio:device0/in_power1_input")
    }
    power = read_power(tree(tmp_path / "xavier", missing))
    assert power is not None
    assert (power.rails["CPU"], power.rails["GPU"], power.total) == (None, 0.0, None)
    garbled = dict(ORIN, **{f"{NEW}/1-0040/hwmon/hwmon3/curr1_input": "n/a\n"})
    power = read_power(tree(tmp_path / "orin", garbled))
    assert power is not None
    assert (power.rails["VDD_IN"], power.total) == (None, None)


def test_without_sensors_there_is_no_reading(tmp_path: Path) -> None:
    assert read_power(str(tmp_path)) is None
    assert read_power(tree(tmp_path, {f"{NEW}/1-0040/name": "ina3221\n", f"{NEW}/bind": ""})) is None


def test_doctor_tells_what_a_jetson_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = {
        "proc/device-tree/model": "quill\0",
        "proc/device-tree/compatible": "nvidia,p2771-0000+p3310-1000\0nvidia,tegra186\0",
    }
    root = tree(tmp_path / "tx2", dict(machine, **TX2))
    assert main(["doctor", "--root", root, "--json"]) == 0
    power = json.loads(capsys.readouterr().out)["power"]
    assert (power["total_w"], power["total_of"], power["rails_w"]["VDD_4V0_WIFI"]) == (3.056, ["VDD_IN"], 0.0)
    assert main(["doctor", "--root", root]) == 0
    assert "power          3.06 W in all, VDD_SYS_GPU 0.15 W" in capsys.readouterr().out
    assert main(["doctor", "--root", tree(tmp_path / "bare", machine), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["power"] is None
