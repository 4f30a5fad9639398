"""`edgekit doctor` on trees of files that look like Jetsons, on this machine, and where nothing can be read."""

import json
import subprocess
import sys

import pytest

from edgekit.cli import main
from edgekit.runtime.device.jetson import PowerMode, fastest_mode, read_jetson
from edgekit.runtime.device.system import (
    Busy,
    others_busy,
    peak_memory_bytes,
    read_busy,
    read_load,
    read_processors,
)

TX2_MODES = """\
# /etc/nvpmodel.conf of a TX2
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_1 1
< POWER_MODEL ID=1 NAME=MAXQ >
CPU_ONLINE CORE_1 0
< POWER_MODEL ID=3 NAME=MAXP_CORE_ARM >
< PM_CONFIG DEFAULT=3 >
"""
TX2 = {
    "proc/device-tree/model": "quill\0",
    "proc/device-tree/compatible": "nvidia,p2771-0000+p3310-1000\0nvidia,tegra186\0",
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64\n",
    "etc/nvpmodel.conf": TX2_MODES,
    "var/lib/nvpmodel/status": "pmode:0003\n",
    "usr/local/cuda/version.txt": "CUDA Version 10.2.300\n",
    "sys/class/devfreq/17000000.gp10b/cur_freq": "114750000\n",
    "sys/class/devfreq/17000000.gp10b/min_freq": "114750000\n",
    "sys/class/devfreq/17000000.gp10b/max_freq": "1122000000\n",
    "sys/class/thermal/thermal_zone0/type": "GPU-therm\n",
    "sys/class/thermal/thermal_zone0/temp": "91500\n",
    "sys/class/thermal/thermal_zone1/type": "PMIC-Die\n",
    "sys/class/thermal/thermal_zone1/temp": "100000\n",
    "sys/devices/system/cpu/online": "0,3-5\n",
    "sys/devices/system/cpu/present": "0-5\n",
    **{
        f"sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}": text
        for cpu in (0, 3, 4, 5)
        for name, text in (
            ("scaling_governor", "schedutil\n"),
            ("scaling_cur_freq", "345600\n"),
            ("cpuinfo_max_freq", "2035200\n"),
        )
    },
    "proc/loadavg": "0.20 0.10 0.05 1/100 1000\n",
    "proc/meminfo": "MemTotal:        8040960 kB\nMemFree: 1 kB\nMemAvailable:    6000000 kB\n",
}


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return str(root)


def doctor(root, *options):
    process = subprocess.run(
        [sys.executable, "-m", "edgekit", "doctor", "--root", str(root), *options],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_tx2_is_recognised_and_every_brake_is_named_with_its_remedy(tmp_path):
    found = json.loads(doctor(tree(tmp_path, TX2), "--json"))
    jetson = found["jetson"]
    assert (jetson["module"], jetson["part"], jetson["soc"], jetson["sm"]) == (
        "TX2",
        "p3310-1000",
        "tegra186",
        "6.2",
    )
    assert (jetson["l4t"], jetson["jetpack"], jetson["cuda"]) == ("32.7.1", "4.6.1", "10.2.300")
    assert jetson["power_mode"] == {"number": 3, "name": "MAXP_CORE_ARM"}
    assert jetson["gpu_mhz"] == 114.75 and jetson["gpu_highest_mhz"] == 1122.0
    assert jetson["temperatures"] == {"GPU": 91.5}  # the PMIC's sensor is known to be dead
    assert found["processors"]["online"] == 4 and found["processors"]["present"] == 6
    assert found["memory"] == {"total_bytes": 8040960 * 1024, "available_bytes": 6000000 * 1024}
    mended = {finding["what"].split(" ")[0]: finding["mend"] for finding in found["findings"]}
    assert mended["power"] == "sudo nvpmodel -m 0 && sudo jetson_clocks"
    assert mended["the"] == "sudo jetson_clocks"
    assert mended["GPU"].startswith("cool it")
    assert any("2 of 6 CPUs are switched off" in finding["what"] for finding in found["findings"])


def test_a_tx2_at_full_speed_has_nothing_to_mend(tmp_path):
    fast = {
        **TX2,
        "var/lib/nvpmodel/status": "pmode:0000",
        "sys/class/devfreq/17000000.gp10b/min_freq": "1300500000",
        "sys/class/devfreq/17000000.gp10b/max_freq": "1300500000",
        "sys/class/devfreq/17000000.gp10b/cur_freq": "1300500000",
        "sys/class/thermal/thermal_zone0/temp": "45000",
        "sys/devices/system/cpu/online": "0-5",
        **{f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor": "performance" for cpu in range(6)},
    }
    assert "Nothing found that makes this device slow." in doctor(tree(tmp_path, fast))


def test_a_user_who_may_not_run_in_real_time_is_told_the_command_that_allows_it(
    tmp_path, monkeypatch, capsys
):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.sched_setscheduler", lambda *_: None)
    assert main(["doctor", "--root", str(tmp_path)]) == 0
    assert "real time      allowed" in capsys.readouterr().out
    monkeypatch.setattr("os.sched_setscheduler", refuse)
    assert main(["doctor", "--root", str(tmp_path)]) == 0
    assert "not allowed to this user: sudo sh -c" in capsys.readouterr().out
    assert main(["doctor", "--root", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["realtime"] is False


def test_a_xavier_nx_of_jetpack_5_keeps_its_release_as_nvidia_writes_it(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Xavier NX Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p3509-0000+p3668-0001\0nvidia,tegra194\0",
            "etc/nv_tegra_release": "# R35 (release), REVISION: 1.0, GCID: 31346300\n",
            "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "11.4.20220803"}}',
        },
    )
    jetson = read_jetson(root)
    assert jetson is not None
    assert (jetson.module, jetson.sm, jetson.l4t, jetson.jetpack) == (
        "Xavier NX 8GB",
        "7.2",
        "35.1.0",
        "5.0.2",
    )
    assert jetson.cuda == "11.4.20220803"
    assert jetson.power_mode is None and jetson.gpu_mhz is None and jetson.temperatures == {}


def test_a_jetson_that_nobody_knows_is_read_as_far_as_it_goes(tmp_path):
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Next\0",
        "etc/nv_tegra_release": "garbage \xff",
        "proc/stat": "cpu x",
    }
    files["sys/class/thermal/thermal_zone0/type"] = "tj-thermal"
    files["sys/class/thermal/thermal_zone0/temp"] = "not a number"
    files["var/lib/nvpmodel/status"] = "pmode:"
    root = tree(tmp_path, files)
    assert "Jetson         NVIDIA Jetson Next (unknown, unknown)" in doctor(root)
    assert json.loads(doctor(root, "--json"))["jetson"]["sm"] is None
    assert read_busy(root).everybody is None


@pytest.mark.parametrize(
    "model", ["\x1b[31mNVIDIA Jetson\nNext", "NVIDIA Jetson " + "x" * 300_000, "\0\xff\xfe NVIDIA Jetson"]
)
def test_a_device_tree_of_anything_is_one_line_of_the_report(tmp_path, model):
    files = {"proc/device-tree/model": model, "var/lib/nvpmodel/status": "pmode:99999999999999999999"}
    text = doctor(tree(tmp_path, files))
    (line,) = [line for line in text.splitlines() if line.startswith("Jetson ")]
    assert "NVIDIA Jetson" in line and "(unknown, unknown)" in line
    assert len(line) < 200 and "\x1b" not in text


def test_where_nothing_can_be_read_everything_is_unknown_and_never_zero(tmp_path):
    found = json.loads(doctor(tmp_path, "--json"))
    assert found["jetson"] is None and found["load"] is None
    assert found["memory"] == {"total_bytes": None, "available_bytes": None}
    assert {found["processors"][key] for key in ("model", "online", "present", "max_mhz")} == {None}
    assert found["processors"]["mhz"] == [] and "unknown MHz now" in doctor(tmp_path)
    assert peak_memory_bytes(str(tmp_path)) is None and read_load(str(tmp_path)) is None


def test_this_machine_is_no_jetson_but_has_a_processor():
    found = json.loads(doctor("/", "--json"))
    assert found["software"]["numpy"] and found["processors"]["usable"] >= 1
    assert found["edgekit"] and found["software"]["python"].startswith("3.")


@pytest.mark.parametrize(
    ("names", "fastest"),
    [
        (["MAXN", "MAXQ", "MAXP_CORE_ALL"], "MAXN"),
        (
            ["MODE_15W_2CORE", "MODE_15W_6CORE", "MODE_10W_2CORE", "MODE_20W_2CORE", "MODE_20W_6CORE"],
            "MODE_20W_6CORE",
        ),
        (["15W", "7W"], "15W"),
        (["15W", "25W", "MAXN_SUPER"], "MAXN_SUPER"),
        (["MODE_30W_2CORE", "MODE_30W_ALL"], "MODE_30W_ALL"),
        (["OWN"], None),
        ([], None),
    ],
)
def test_the_fastest_power_mode_is_not_the_highest_number(names, fastest):
    found = fastest_mode(tuple(PowerMode(number, name) for number, name in enumerate(names)))
    assert (found.name if found else None) == fastest


def test_others_are_what_was_busy_and_not_ours():
    before, after = Busy(100.0, 10.0, 50.0), Busy(105.0, 12.0, 52.0)
    assert others_busy(before, after) == pytest.approx(1.5)
    assert others_busy(before, after._replace(at=50.1)) is None  # the kernel counts in hundredths
    assert others_busy(before._replace(everybody=None), after) is None


def test_peak_memory_covers_what_is_held():
    import numpy as np

    before = peak_memory_bytes()
    held = np.ones(60_000_000, np.uint8)
    after = peak_memory_bytes()
    assert (
        before is not None and after is not None and after - before > 0.8 * held.nbytes
    ) or after > 2 * held.nbytes


def test_cpu_lists_of_the_kernel_are_understood(tmp_path):
    assert read_processors(tree(tmp_path, {"sys/devices/system/cpu/online": "0-1,4,6-7"})).online == 5
    assert read_processors(tree(tmp_path, {"sys/devices/system/cpu/online": "none"})).online is None
