"""What `edgekit estimate` predicts, for people and as a document: every figure with the word, and with the model's own error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edgekit import __version__
from edgekit.bundle import Bundle
from edgekit.export.estimate.estimating import Predicted
from edgekit.export.estimate.hardware import Hardware
from edgekit.export.estimate.roofline import CALL_MS, Calibration, launch_us

HEADS = (
    "stage", "graph", "in", "kernels", "predicted ms", "predicted until its exit", "likely within", "predicted FPS", "unlike all records"
)  # fmt: skip
# What the records cannot tell, by module.
CAVEATS = {
    "Jetson TX2": "the TX2's records are of JetPack 3 (2018, TensorRT 3 and 4); the 8.2 of JetPack 4.6 may well be faster",
    "Jetson Xavier NX": "only two records are of this module",
    "Jetson AGX Orin 64GB": "only one record is of this module",
    "Jetson Orin NX 16GB": "no record is of this module: the AGX Orin's coefficients, at this one's clocks",
    "Jetson Orin Nano 8GB": "no record is of this module: the AGX Orin's coefficients, at this one's clocks",
}
TIMES = frozenset({"ms", "until", "low", "high"})
# What edgekit's profiles hold, so that `edgekit simulate` reads predictions as it reads measurements.
PROFILE_SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """The predictions for one bundle on one module, and at how many frames a second they are judged."""

    bundle: Bundle
    on: Hardware
    stages: Sequence[Predicted]
    calibration: Calibration
    fps: float | None

    def document(self) -> dict[str, object]:
        """The JSON document."""
        return {
            "what": "predicted, not measured",
            "edgekit": __version__,
            "bundle": self.bundle.path,
            "module": self.on.module,
            "power_mode": self.on.mode,
            "gpu_mhz": self.on.gpu_mhz,
            "guesses": list(self.on.guesses),
            "stages": [
                {f"predicted_{name}" if name in TIMES else name: value for name, value in asdict(one).items()}
                for one in self.stages
            ],
            "fps": None if self.fps is None else {"asked": self.fps, "answers": self.verdicts(self.fps)},
            "held_out": dict(self.calibration.errors),
            "notes": self.notes(),
        }

    def profile(self) -> dict[str, object]:
        """The predictions as `edgekit simulate --profile` reads them; never taken for a measured profile."""
        return {
            "schema": PROFILE_SCHEMA,
            "predicted": f"predicted for {self.where()}, one duration a stage: how much frames differ is not predicted",
            "stages": {one.stage: {"variant": one.variant, "durations_ms": [one.ms]} for one in self.stages},
        }

    def where(self) -> str:
        """The module and its power mode in words."""
        return f"{self.on.module} in {self.on.mode} (GPU fixed at {self.on.gpu_mhz:g} MHz), TensorRT"

    def verdicts(self, fps: float) -> dict[str, str]:
        """By exit: whether its answer would be there in every frame's time: yes, no, or perhaps."""
        budget = 1e3 / fps
        return {
            one.stage: "yes" if one.high <= budget else "no" if one.low > budget else "perhaps"
            for one in self.stages
            if one.exit
        }

    def lines(self) -> list[str]:
        """The report for people."""
        said = [f"{self.bundle.manifest.name} on {self.where()}: predicted, not measured", ""]
        if self.fps is not None:
            said += [*self._answer(self.fps), ""]
        said += [*_table([HEADS, *(self._row(one) for one in self.stages)]), ""]
        return said + self._errors() + [f"- {note}" for note in self.notes()]

    def notes(self) -> list[str]:
        """What is not in the figures, and what they rest on."""
        said = [
            "in them: every kernel of the stage and"
            f" {CALL_MS:g} ms for the call (assumed). Not in them: preparing pictures, copies, other programs, clocks that move",
            f"a kernel's launch is taken as {launch_us(self.on, self.calibration.coefficients):.0f} us, which falls with the GPU's clock",
        ]
        said.append(
            "likely within: as far off as 8 of 10 records whose family or module was held out; twice or half where unlike all records"
        )
        said += [CAVEATS[self.on.module]] if self.on.module in CAVEATS else []
        said += [f"recalled, not read in a source: {', '.join(self.on.guesses)}"] if self.on.guesses else []
        if any(one.unseen >= 0.05 for one in self.stages):
            said.append(
                "unlike all records: 3-D and grouped convolutions, reductions and loops, of which nothing was published; there the"
                " error may be larger"
            )
        return said

    def _row(self, one: Predicted) -> tuple[str, ...]:
        until = (
            (f"{one.until:.1f} ms", f"{one.low:.1f} to {one.high:.1f}", f"{1e3 / one.until:.0f}")
            if one.exit
            else ("", "", "")
        )
        name = one.stage if one.network is None else f"{one.stage} ({one.network})"
        return (
            name,
            one.variant,
            one.precision,
            str(one.kernels),
            f"{one.ms:.2f}",
            *until,
            f"{100 * one.unseen:.0f} %",
        )

    def _answer(self, fps: float) -> list[str]:
        found = self.verdicts(fps)
        words = {"yes": "predicted yes", "perhaps": "too close to tell", "no": "predicted no"}
        lines = [f"{fps:g} frames a second, {1e3 / fps:.1f} ms each:"]
        for one in self.stages:
            if one.exit:
                lines.append(
                    f"  {one.stage}: {words[found[one.stage]]} (predicted {one.until:.1f} ms until its answer, {one.low:.1f} to {one.high:.1f})"
                )
        return lines

    def _errors(self) -> list[str]:
        lines = [
            f"How wrong it is: predictions of {self.calibration.document['records']} published latencies that the fit had not seen"
        ]
        for name, found in self.calibration.errors.items():
            error, within = 100 * found["median_relative_error"], 100 * found["within_2x"]
            lines.append(
                f"- held out by {name}: median error {error:.1f} %, {within:.0f} % within 2x ({found['records']:.0f} records)"
            )
        return lines


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    left = 3
    return [
        "  ".join(
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
