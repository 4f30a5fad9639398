"""Any torch classifier cut into stages at layers that its user names, each with an exit of its own behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial

from torch import Tensor, fx, nn

from edgekit.errors import OptionError
from edgekit.models.staged import ImageInput, Stage


def pooled_head(channels: int, classes: int) -> nn.Sequential:
    """The plainest exit: a map (B, channels, H, W) averaged over its pixels, and a fully connected layer to (B, classes)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class CutNetwork(nn.Module):
    """A classifier with exits behind some of its layers; a `StagedModel`.

    Train it like any module: calling it gives the logits of every exit, the network's own last. A stage computes what its exit
    needs and no stage before it has; what crosses a cut (a skip connection too) is handed on under the layer's name.

    Args:
        network: the classifier, picture (B, C, H, W) to logits (B, classes); torch.fx must be able to trace it.
        heads: what turns a layer's output into logits (B, classes), by the layer's name as ``named_modules()`` has it.
        image: the picture that it reads.
        family: what the bundle says that it is.
        options: anything worth noting in the bundle, as JSON values; ``classes``, a list of texts, names the classes.

    Raises:
        OptionError: a layer does not exist, is not called exactly once, the network cannot be traced, or an argument is of
            the wrong kind.
    """

    task = "classification"

    def __init__(
        self, network: nn.Module, heads: Mapping[str, nn.Module], image: ImageInput, family: str = "cut",
        options: Mapping[str, object] | None = None,
    ) -> None:  # fmt: skip
        _check_kinds(network, heads, image)
        super().__init__()
        self.family = family
        self.options: Mapping[str, object] = dict(options or {})
        self.inputs: Sequence[ImageInput] = (image,)
        self.network = network
        self._graph = _traced(network, heads)
        self._cuts = [node for node in self._graph.nodes if node.op == "call_module" and node.target in heads]
        # ModuleDict takes no dots, which names of layers have.
        self.heads = nn.ModuleDict({_plain(str(node.target)): heads[str(node.target)] for node in self._cuts})

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised pictures (B, C, H, W) to the logits (B, classes) of every exit."""
        exits: list[Tensor] = []
        hooks = []
        for node in self._cuts:
            answer = partial(_answer, self.heads[_plain(str(node.target))], exits)
            hooks.append(self.network.get_submodule(str(node.target)).register_forward_hook(answer))
        try:
            last = self.network(image)
        finally:
            for hook in hooks:
                hook.remove()
        return [*exits, last]

    def reference(self, *inputs: Tensor) -> Sequence[Tensor]:
        """Every exit of the uncut network for (image,)."""
        return self(*inputs)  # type: ignore[no-any-return]

    def stages(self) -> list[Stage]:
        """One stage up to each named layer, in the order in which the network runs them, and one to its end."""
        self.eval()
        (output,) = (node for node in self._graph.nodes if node.op == "output")
        (last,) = output.all_input_nodes
        ends = [*self._cuts, last]
        stage_of = _assign(ends)
        if stage_of[last] < len(ends) - 1:
            raise OptionError(
                f"{type(self.network).__name__} cannot be cut at {self._cuts[-1].target!r}: the network's own answer is ready before it"
            )
        return [self._stage(number, end, stage_of) for number, end in enumerate(ends)]

    def _stage(self, number: int, end: fx.Node, stage_of: Mapping[fx.Node, int]) -> Stage:
        computed = {node for node in self._graph.nodes if stage_of.get(node) == number}
        # Parameters that the network itself reads are no tensors to hand on: every stage that reads one has it.
        held = {s for node in computed for s in node.all_input_nodes if s.op == "get_attr"}
        computed = {node for node in computed if node.op not in ("placeholder", "get_attr")} | held
        own = [node for node in self._graph.nodes if node in computed]
        reads = _unique(
            s for node in own for s in node.all_input_nodes if s not in computed and s.op != "get_attr"
        )
        writes = [
            node
            for node in own
            if node.op != "get_attr" and any(stage_of.get(user, number) > number for user in node.users)
        ]
        graph, copies = fx.Graph(), {}
        for node in reads:
            copies[node] = graph.placeholder(node.name)
        for node in own:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        modules: dict[str, nn.Module] = {
            name: module for name, module in self.network.named_modules() if name
        }
        logits = copies[end]
        if end in self._cuts:
            graph_name = f"exit{number + 1}"
            modules[graph_name] = self.heads[_plain(str(end.target))]
            logits = graph.call_module(graph_name, (copies[end],))
        graph.output((logits, *(copies[node] for node in writes)) if writes else logits)
        names = {
            node: self.inputs[0].name if node.op == "placeholder" else node.name for node in (*reads, *writes)
        }
        exit_ = f"logits{number + 1}"
        module = fx.GraphModule({**_attributes(self.network, graph), **modules}, graph)
        return Stage(
            f"stage{number + 1}",
            module.eval(),
            tuple(names[node] for node in reads),
            (exit_, *(names[node] for node in writes)),
            exit_,
        )


def _check_kinds(network: object, heads: object, image: object) -> None:
    if not isinstance(network, nn.Module):
        raise OptionError(f"the network to cut is a {type(network).__name__}; it must be a torch.nn.Module")
    if not isinstance(image, ImageInput):
        raise OptionError(f"image={image!r}: must be an edgekit.models.staged.ImageInput")
    if not isinstance(heads, Mapping):
        raise OptionError(f"heads are a {type(heads).__name__}; they must be modules by the names of layers")
    for name, head in heads.items():
        if not isinstance(head, nn.Module):
            raise OptionError(
                f"the head of {name!r} is a {type(head).__name__}; it must be a torch.nn.Module"
            )


def _answer(head: nn.Module, exits: list[Tensor], layer: nn.Module, inputs: object, output: Tensor) -> None:
    exits.append(head(output))


class _Tracer(fx.Tracer):
    """Does not look into layers that are cut at."""

    def __init__(self, whole: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self._whole or super().is_leaf_module(m, module_qualified_name)


def _traced(network: nn.Module, heads: Mapping[str, nn.Module]) -> fx.Graph:
    known = dict(network.named_modules())
    for name in heads:
        if name not in known or not name:
            close = get_close_matches(name, known, 1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            top = ", ".join(child for child, _ in network.named_children())
            raise OptionError(f"{type(network).__name__} has no layer {name!r}{meant}; it begins with {top}")
    if not heads:
        raise OptionError("no layer was named: give the heads of at least one exit before the last")
    try:
        graph = _Tracer(heads).trace(network)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"{type(network).__name__} cannot be cut: torch.fx cannot trace it ({error}); its forward may not branch on tensors"
        ) from error
    for name in heads:
        calls = sum(node.op == "call_module" and node.target == name for node in graph.nodes)
        if calls != 1:
            where = (
                "a layer around it is cut at too"
                if any(name.startswith(f"{o}.") for o in heads)
                else f"it runs {calls} times"
            )
            raise OptionError(f"{type(network).__name__} cannot be cut at {name!r}: {where}")
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise OptionError(
            f"{type(network).__name__} cannot be cut: it must take one picture and nothing else"
        )
    (output,) = (node for node in graph.nodes if node.op == "output")
    last = output.args[0]
    if not isinstance(last, fx.Node):
        raise OptionError(
            f"{type(network).__name__} cannot be cut: it must return its logits and nothing else, not a {type(last).__name__}"
        )
    if last.op == "call_module" and last.target in heads:
        raise OptionError(
            f"{type(network).__name__} cannot be cut at {last.target!r}: its output is the network's own, which is an exit anyway"
        )
    return graph


def _assign(ends: Sequence[fx.Node]) -> dict[fx.Node, int]:
    """The stage that computes each node: the first whose exit needs it."""
    stage_of: dict[fx.Node, int] = {}
    for number, end in enumerate(ends):
        waiting = [end]
        while waiting:
            node = waiting.pop()
            if node not in stage_of:
                stage_of[node] = number
                waiting += node.all_input_nodes
    return stage_of


def _attributes(network: nn.Module, graph: fx.Graph) -> dict[str, object]:
    """Parameters and buffers that the graph reads directly."""
    found: dict[str, object] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            value: object = network
            for part in str(node.target).split("."):
                value = getattr(value, part)
            found[str(node.target)] = value
    return found


def _unique(nodes: object) -> list[fx.Node]:
    return list(dict.fromkeys(nodes))  # type: ignore[call-overload]


def _plain(layer: str) -> str:
    return layer.replace(".", "/")
