"""Proof that every graph and program of a bundle computes what its network computes, each alone and all in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgekit.errors import ParityError
from edgekit.export import lowering, networks
from edgekit.export.layerwise import prove_blocks
from edgekit.export.lowering import Form
from edgekit.export.native import NATIVE, add_programs
from edgekit.export.parity import ParityRow, prove

# Of what parity allows: how far weights of two bytes may move an answer on the one picture that is looked at; others may move more.
COARSE = 0.4


def prove_networks(
    ran: Sequence[networks.Network],
    graphs: Mapping[str, dict[str, bytes]],
    forms: Mapping[str, dict[str, Form]],
    defaults: Mapping[str, Mapping[str, str]],
    notes: list[str],
    begin: Callable[[str], None],
) -> list[ParityRow]:
    """Compare all variants with the networks in torch.

    A program whose weights of two bytes are too coarse is written again with whole ones, which ``notes`` then says.

    Args:
        ran: the networks, run once.
        graphs, forms: by stage and variant.
        defaults: the variant that each backend begins with, by stage.
        notes: what the user is told.
        begin: is told what is done.

    Raises:
        ParityError: something differs; the message holds the table.
    """
    chains = {
        backend: {name: chosen[backend] for name, chosen in defaults.items()}
        for backend in lowering.PREFERENCES
    }
    if chains["openvino"] in (chains["onnxruntime"], chains["tensorrt"]):
        del chains["openvino"]
    if all(NATIVE in variants for variants in graphs.values()):
        chains[NATIVE] = dict.fromkeys(graphs, NATIVE)
    rows: list[ParityRow] = []
    for network in ran:
        begin("proving parity" + (f" of {network.name}" if len(ran) > 1 else ""))
        try:
            rows += _prove(network, graphs, forms, chains)
        except ParityError:
            if not _whole(network, graphs, forms):
                raise
            notes.append(
                f"{network.name}: weights of two bytes are too coarse here, so {NATIVE} has whole ones"
            )
            rows += _prove(network, graphs, forms, chains)
    return rows


def _whole(
    network: networks.Network,
    graphs: Mapping[str, dict[str, bytes]],
    forms: Mapping[str, dict[str, Form]],
) -> bool:
    """Write a network's programs with all weights whole; False where they are so already, or there are none."""
    names = [each.stage.name for each in network.runs]
    before = [graphs[name].get(NATIVE) for name in names]
    if None in before:
        return False
    add_programs(network.runs, graphs, forms, halve=False)
    return before != [graphs[name][NATIVE] for name in names]


def _prove(
    network: networks.Network,
    graphs: Mapping[str, Mapping[str, bytes]],
    forms: Mapping[str, Mapping[str, Form]],
    chains: Mapping[str, Mapping[str, str]],
) -> list[ParityRow]:
    """As a whole, or block by block where a low-bit network's variants say how."""
    names = [each.stage.name for each in network.runs]
    if not all(form.openings for name in names for form in forms[name].values()):
        half = any(form.precision == "float16" for name in names for form in forms[name].values())
        return prove(network.runs, graphs, chains, network.exits, half)
    return [
        row
        for each in network.runs
        for row in prove_blocks(each, graphs[each.stage.name], forms[each.stage.name])
    ]
