"""What a device draws while something runs, its clocks and heat before and after: on trees of files, and a `tegrastats` of ours."""

import json
import stat
import time
from pathlib import Path
from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.cli import main
from edgekit.runtime.device.state import moved, read_state
from edgekit.runtime.device.tegrastats import parse_line
from edgekit.runtime.device.telemetry import (
    ABSENT,
    NO_TOTAL,
    PROGRAM,
    SENSORS,
    UNREADABLE,
    find_source,
    measure_energy,
)
from tests.toy_graphs import write_stereo

INA = "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1"
HWMON = "sys/bus/i2c/drivers/ina3221/7-0040/hwmon/hwmon4"
GPU = "sys/class/devfreq/17000000.gp10b"
TX2 = {
    "proc/device-tree/model": "quill\0",
    "proc/device-tree/compatible": "nvidia,p2771-0000+p3310-1000\0nvidia,tegra186\0",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=MAXQ >\n",
    "var/lib/nvpmodel/status": "pmode:0000\n",
    f"{GPU}/cur_freq": "1300500000\n",
    f"{GPU}/min_freq": "114750000\n",
    f"{GPU}/max_freq": "1300500000\n",
    "sys/class/thermal/thermal_zone0/type": "GPU-therm\n",
    "sys/class/thermal/thermal_zone0/temp": "35000\n",
    "sys/kernel/debug/bpmp/debug/clk/emc/rate": "1866000000\n",
}
SENSOR = {f"{INA}/rail_name_0": "VDD_IN\n", f"{INA}/in_power0_input": "8000\n"}


def tree(root: Path, files: Dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("ascii"))
    return str(root)


def tegrastats(root: Path, lines: List[str]) -> None:
    """A program that says these lines again and again."""
    path = root / "usr" / "bin" / "tegrastats"
    path.parent.mkdir(parents=True)
    said = "\n".join(f"  echo '{line}'" for line in lines)
    path.write_text(f"#!/bin/sh\nwhile :; do\n{said}\n  sleep 0.01\ndone\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(scope="module")
def samples(shared: Path) -> Dict[str, str]:
    found: Dict[str, str] = json.loads((shared / "facts" / "tegrastats_samples.json").read_text())["samples"]
    return found


def test_every_sample_tells_power_clock_and_temperatures(samples: Dict[str, str]) -> None:
    total = {}
    for name, line in samples.items():
        said = parse_line(line)
        assert said is not None and said.power is not None and said.temperatures, name
        assert "PMIC" not in said.temperatures
        total[name] = said.power.total
    assert total == {
        "TX2": 3.056, "TX2_nosudo": 1.649, "AGX_Xavier": pytest.approx(3.346), "Xavier_NX": 4.067, "Nano": 1.022,
        "Orin_JP5_truncated_tail": 5.299, "AGX_Orin_JP72": None,
    }  # fmt: skip


def test_what_a_line_says_is_read_with_its_units(samples: Dict[str, str]) -> None:
    tx2, bare, orin = (parse_line(samples[name]) for name in ("TX2", "TX2_nosudo", "AGX_Orin_JP72"))
    assert tx2 is not None and bare is not None and orin is not None
    assert (tx2.gpu_mhz, tx2.gpu_busy, tx2.memory_mhz) == (624.0, 0.0, 1600.0)
    assert tx2.power is not None and tx2.power.rails["VDD_SYS_DDR"] == 0.883
    assert tx2.temperatures["Tdiode"] == 34.25
    assert (bare.gpu_mhz, bare.memory_mhz) == (None, None), "without root's rights there are no clocks"
    assert (orin.gpu_mhz, orin.gpu_busy, orin.temperatures["gpu"]) == (1300.0, 0.12, 47.625)
    assert orin.power is not None and orin.power.rails["VIN_SYS_5V0"] == 5.5


@given(st.text(max_size=300))
def test_garbage_is_no_reading_and_no_error(text: str) -> None:
    said = parse_line(text)
    assert said is None or "GR3D_FREQ" in text


@given(st.data())
def test_a_line_that_was_cut_anywhere_is_read_as_far_as_it_goes(data: st.DataObject) -> None:
    line = (
        "EMC_FREQ 4%@1600 GR3D_FREQ 10%@624 GPU@35C VDD_SYS_GPU 152/152 VDD_IN 3056/3056 VDD_SYS_DDR 883/883"
    )
    said = parse_line(line[: data.draw(st.integers(0, len(line)))])
    if said is not None and said.power is not None and said.power.total is not None:
        assert said.power.total == 3.056 or "VDD_SYS_DDR" not in said.power.rails


def test_energy_is_mean_power_times_the_time_of_an_inference(tmp_path: Path) -> None:
    root = tree(tmp_path, SENSOR)
    assert find_source(root).name == SENSORS
    instants = iter(range(1000))

    def frame() -> None:
        time.sleep(0.06)

    energy = measure_energy(find_source(root), frame, 4.0, root, now=lambda: float(next(instants)))
    assert energy is not None and energy.readings >= 1
    assert (energy.frames, energy.watts) == (4, 8.0)
    assert energy.millijoules == pytest.approx(8.0 * 1e3 * energy.seconds / energy.frames)
    assert dict(energy.rails) == {"VDD_IN": pytest.approx(energy.millijoules)}


def test_tegrastats_is_asked_where_no_sensor_s_file_tells_and_garbage_between_its_lines_does_not_matter(
    tmp_path: Path, samples: Dict[str, str]
) -> None:
    tegrastats(tmp_path, ["sh: garbage", samples["TX2"], "RAM 1/", "", "\\xff VDD_IN 9999999/1"])
    source = find_source(str(tmp_path))
    assert source.name == PROGRAM

    def frame() -> None:
        time.sleep(0.1)

    energy = measure_energy(source, frame, 0.4, str(tmp_path))
    assert energy is not None and energy.watts == pytest.approx(3.056)
    assert dict(energy.rails)["VDD_SYS_DDR"] == pytest.approx(energy.millijoules * 0.883 / 3.056)


def test_a_tegrastats_that_says_nothing_or_cannot_be_started_leaves_no_energy(tmp_path: Path) -> None:
    tegrastats(tmp_path / "silent", ["nothing"])
    broken = tmp_path / "broken"
    tegrastats(broken, [])
    (broken / "usr" / "bin" / "tegrastats").write_bytes(b"\x7fELF of another machine")
    for root in (tmp_path / "silent", broken):
        source = find_source(str(root))
        assert source.name == PROGRAM
        assert measure_energy(source, lambda: None, 0.05, str(root)) is None


def test_without_telemetry_the_reason_is_said(tmp_path: Path) -> None:
    assert find_source(str(tmp_path)).why == ABSENT
    # As for a user who may not read the values
    hidden = tree(tmp_path / "hidden", {f"{INA}/rail_name_0": "VDD_IN\n"})
    assert find_source(hidden).why == UNREADABLE
    parts = {
        f"{HWMON}/in1_label": "VDD_CPU_CV\n",
        f"{HWMON}/in1_input": "5000\n",
        f"{HWMON}/curr1_input": "100\n",
    }
    assert find_source(tree(tmp_path / "parts", parts)).why == NO_TOTAL


def test_a_state_that_did_not_move_says_nothing_and_one_that_did_says_what_to_do(tmp_path: Path) -> None:
    before = read_state(tree(tmp_path / "a", TX2))
    assert (before.gpu_mhz, before.memory_mhz, before.temperatures) == (1300.5, 1866.0, {"GPU": 35.0})
    assert moved(before, before) == []
    changed = dict(TX2)
    changed["var/lib/nvpmodel/status"] = "pmode:0001\n"
    changed[f"{GPU}/cur_freq"] = "850000000\n"
    changed["sys/class/thermal/thermal_zone0/temp"] = "61000\n"
    mode, clock, heat = moved(before, read_state(tree(tmp_path / "b", changed)))
    assert "power mode changed from MAXN to MAXQ" in mode
    assert "GPU's clock moved from 1300 to 850 MHz" in clock and "jetson_clocks" in clock
    assert "GPU went from 35 to 61 C" in heat


def test_a_device_that_tells_nothing_has_a_state_of_nothing(tmp_path: Path) -> None:
    state = read_state(str(tmp_path))
    assert state.to_json() == {
        "power_mode": None, "gpu_mhz": None, "memory_mhz": None, "cpu_mhz": None, "temperatures_c": None, "power": None,
    }  # fmt: skip
    assert moved(state, state) == []


def test_bench_tells_the_energy_of_every_exit_on_a_jetson_and_null_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_stereo(tmp_path / "toy.edgekit")
    root = tree(tmp_path / "tx2", dict(TX2, **SENSOR))
    options = [
        "--runs",
        "3",
        "--warmup",
        "0",
        "--no-profile",
        "--variants",
        "default",
        "--energy-seconds",
        "0.2",
    ]
    assert main(["bench", bundle.path, *options, "--root", root, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["device"]["before"]["power_mode"]["name"] == "MAXN"
    assert document["device"]["after"]["gpu_mhz"] == 1300.5
    assert document["exits"]
    for name, one in document["exits"].items():
        energy = one["energy"]
        assert energy["watts"] == 8.0, name
        assert energy["millijoules"] == pytest.approx(8e3 * energy["seconds"] / energy["frames"])
    assert main(["bench", bundle.path, *options, "--root", root]) == 0
    text = capsys.readouterr().out
    assert "Device before: power mode MAXN, GPU 1300 MHz, memory 1866 MHz" in text and "INA3221" in text
    assert main(["bench", bundle.path, *options, "--root", str(tmp_path / "nothing"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {one["energy"] for one in document["exits"].values()} == {None}
    assert (document["device"]["power_source"], document["device"]["no_power_because"]) == (None, ABSENT)


def test_doctor_says_how_to_make_hidden_rails_readable_and_asks_tegrastats(
    tmp_path: Path, samples: Dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = tmp_path / "hidden"
    root = tree(hidden, dict(TX2, **{f"{INA}/rail_name_0": "VDD_IN\n"}))
    assert main(["doctor", "--root", root]) == 0
    assert "sudo chmod -R a+rX /sys/bus/i2c/drivers/ina3221*/" in capsys.readouterr().out
    tegrastats(hidden, [samples["TX2"]])
    assert main(["doctor", "--root", root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["power"]["total_w"] == 3.056
