"""From a graph to an engine for the GPU that this runs on, with whichever TensorRT there is."""

import re
from typing import Any, List, NamedTuple, Optional, Tuple

from edgekit.errors import BackendError
from edgekit.runtime.backends.cuda import Cuda
from edgekit.runtime.backends.tensorrt_library import DLA_CORE, Library

# From here on the memory that layers may use while they are tried is a pool with a limit.
FIRST_WITH_POOLS = (8, 4)
# From here on networks have an explicit batch without being told, and parser errors know the node's name.
FIRST_EXPLICIT = (10, 0)
# From here on a tensor's type is what the graph says, and nothing else: no flag asks for FP16 or INT8 any more.
FIRST_STRONGLY_TYPED = (11, 0)
# TF32 in tensor cores: from Ampere on.
FIRST_WITH_TF32 = (8, 0)
LEAST_WORKSPACE, MOST_WORKSPACE = 16 << 20, 1 << 30
# Of the memory that is free: the rest stays for weights, for what layers hand to each other, and for the robot.
WORKSPACE_SHARE = 0.25


class Built(NamedTuple):
    """An engine, what TensorRT has learned of this GPU's kernels meanwhile, and the bytes of workspace that it had."""

    plan: bytes
    timing_cache: bytes
    workspace: int


def precisions(library: Library, cuda: Cuda) -> Tuple[str, ...]:
    """What this module computes in faster than in FP32, FP32 itself first."""
    with cuda:
        builder = library.trt.Builder(library.log)
        found = ["fp32"]
        if cuda.sm >= FIRST_WITH_TF32:
            found.append("tf32")
        if library.number >= FIRST_STRONGLY_TYPED:
            return tuple(found)
        if builder.platform_has_fast_fp16:
            found.append("fp16")
        if builder.platform_has_fast_int8:
            found.append("int8")
        if builder.num_DLA_cores > 0 and builder.platform_has_fast_fp16:
            found.append("dla")
        return tuple(found)


def precisions_of(graph: str, available: Tuple[str, ...]) -> Tuple[str, ...]:
    """In what a graph that computes in ``graph`` (``float32``, ``float16``, ``int8``) is worth trying.

    A graph in INT8 holds its own quantisation; one in FP32 is not quantised here.
    """
    if graph == "float16":
        return ("fp16",)
    wanted = ("int8",) if graph == "int8" else ("fp32", "tf32", "fp16", "dla")
    return tuple(one for one in wanted if one in available)


def workspace(cuda: Cuda) -> int:
    """Bytes of workspace that this device can spare now."""
    with cuda:
        free, _ = cuda.memory()
    return max(LEAST_WORKSPACE, min(MOST_WORKSPACE, int(free * WORKSPACE_SHARE)))


def build_engine(
    library: Library, cuda: Cuda, graph: bytes, precision: str, most: int, timing_cache: bytes
) -> Built:
    """Compile ``graph``; where memory does not suffice, with half the workspace, and half of that, down to 16 MB.

    Args:
        library, cuda: TensorRT and the GPU.
        graph: an ONNX file.
        precision: ``fp32``, ``tf32``, ``fp16``, ``int8`` or ``dla`` (FP16 there, and on the GPU what it does not take).
        most: bytes of workspace to begin with.
        timing_cache: of an earlier build under the same fingerprint, or empty; one that does not fit is not used.

    Raises:
        BackendError: TensorRT refuses the graph, or cannot build it; the message holds its own words.
    """
    with cuda:
        limit = most
        while True:
            built = _build(library, graph, precision, limit, timing_cache)
            if built is not None:
                return built
            said = library.said()
            if limit // 2 < LEAST_WORKSPACE or not re.search(r"memory|alloc|workspace", said, re.IGNORECASE):
                tried = f", with {limit >> 20} MB of workspace after {most >> 20} MB" if limit < most else ""
                raise BackendError(
                    f"TensorRT {library.version} cannot build it in {precision}{tried}: {said}"
                )
            limit //= 2


def _build(
    library: Library, graph: bytes, precision: str, limit: int, timing_cache: bytes
) -> Optional[Built]:
    trt = library.trt
    builder = trt.Builder(library.log)
    flags = 0
    if library.number < FIRST_EXPLICIT:
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, library.log)
    if not parser.parse(graph):
        library.said()  # the same again, and more
        raise BackendError(
            f"TensorRT {library.version} cannot read the graph: {_parser_errors(library, parser)}"
        )
    config = builder.create_builder_config()
    if library.number >= FIRST_WITH_POOLS:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit)
    else:
        config.max_workspace_size = limit
    _ask_for(trt, config, precision, library.number)
    cache = _timing_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    return None if plan is None else Built(bytes(plan), bytes(cache.serialize()), limit)


def _ask_for(trt: Any, config: Any, precision: str, number: Tuple[int, ...]) -> None:
    if precision != "tf32":
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, where the GPU has it
    if number >= FIRST_STRONGLY_TYPED:
        return
    if precision in ("fp16", "int8", "dla"):
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    if precision == "dla":
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = DLA_CORE
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _timing_cache(config: Any, known: bytes) -> Any:
    """The cache that ``config`` uses: the known one if it fits, else an empty one."""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _parser_errors(library: Library, parser: Any) -> str:
    found: List[str] = []
    for index in range(min(parser.num_errors, 3)):
        error = parser.get_error(index)
        if library.number >= FIRST_EXPLICIT:
            where = f"{error.node_name() or 'the graph'} ({error.node_operator() or '-'})"
        else:
            where = f"node {error.node()}"
        found.append(f"{where}: {error.desc()}")
    return "; ".join(found) or "it gives no reason"
