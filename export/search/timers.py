"""Times of graphs: measured in this machine's ONNX Runtime, or predicted for a Jetson."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, shape_inference

from edgekit.export.choice import processor, take_turns, usable_threads

_CALL = "a call that does nothing"


class Measured:
    """ONNX Runtime on this machine's processor, all graphs in turns; the median over the rounds of each one's fastest runs."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or usable_threads()
        self.call = 0.0
        self.label = (
            f"measured: ONNX Runtime {onnxruntime.__version__}, {processor()}, threads {self._threads}"
        )

    def __call__(self, graphs: Mapping[str, bytes]) -> Mapping[str, float]:
        """Median ms by name."""
        sessions = {name: self._session(graph) for name, graph in {_CALL: _nothing(), **graphs}.items()}
        times = {name: statistics.median(found) for name, found in take_turns(sessions).items()}
        self.call = times.pop(_CALL)
        return times

    def _session(self, graph: bytes) -> _Session:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")  # as the runtime has it
        return _Session(onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]))


class _Session:
    """Runs a graph on one random input."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        generator = np.random.default_rng(0)
        self._feeds = {
            entry.name: generator.standard_normal(entry.shape).astype(np.float32)
            for entry in session.get_inputs()
        }

    def __call__(self) -> None:
        self._session.run(None, self._feeds)


class Predicted:
    """A Jetson by the model of `edgekit estimate`, in the faster of FP32 and FP16."""

    def __init__(self, target: str) -> None:
        from edgekit.export.estimate.hardware import hardware
        from edgekit.export.estimate.roofline import CALL_MS, read_calibration

        self._on, self._calibration = hardware(target), read_calibration()
        self.call = CALL_MS
        self.label = f"predicted, not measured: {self._on.module} in {self._on.mode}, TensorRT, FP32 or FP16"

    def __call__(self, graphs: Mapping[str, bytes]) -> Mapping[str, float]:
        """Predicted ms by name."""
        return {name: self._ms(graph) for name, graph in graphs.items()}

    def _ms(self, graph: bytes) -> float:
        from edgekit.export.estimate.roofline import kernels, milliseconds
        from edgekit.export.estimate.work import work_of

        model = ir.serde.deserialize_model(shape_inference.infer_shapes(onnx.load_model_from_string(graph)))
        table, coefficients = kernels(work_of(model)), self._calibration.coefficients
        precisions = [name for name in ("fp32", "fp16") if name in self._on.flops]
        sums = [float(milliseconds(table, self._on, name, coefficients).sum()) for name in precisions]
        return min(sums) + self.call


def _nothing() -> bytes:
    """A graph that gives back its one number."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "call", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()  # type: ignore[no-any-return]
