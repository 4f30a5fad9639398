"""One search from its request to its front: reads, times, evolves, and measures what it found once more as whole networks."""

from __future__ import annotations

import hashlib
import json
import random
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from edgekit.errors import OptionError
from edgekit.export.search.accuracy import Judge, load_pictures
from edgekit.export.search.containers import U8, Grid
from edgekit.export.search.evolution import Judged, Settings, evolve, front
from edgekit.export.search.genes import Candidate, Genes
from edgekit.export.search.latency import Container, Table, Timer, part_names, tabulate, written
from edgekit.export.search.picture import check_drawing, draw
from edgekit.export.search.report import Found, Point
from edgekit.export.search.state import begin
from edgekit.export.search.timers import Measured, Predicted
from edgekit.models.checkpoint import read_state_dict
from edgekit.models.oqa import Supernet
from edgekit.models.oqa_staged import StagedOqa, supernet_of

CPU = "cpu"
CHECKED = 4  # whole networks that the sums are checked against, beside the smallest and the largest

Say = Callable[..., None]


@dataclass(frozen=True)
class Request:
    """What to search for; see `edgekit search --help`."""

    checkpoints: tuple[str, ...]
    bits: tuple[int, ...] | None
    data: str
    budget_ms: float
    target: str
    size: tuple[int, int]
    config: Mapping[str, object]
    population: int
    generations: int
    judge_on: int
    settle_on: int
    test_on: int
    seed: int
    threads: int | None

    def options(self) -> dict[str, object]:
        """What a resumed search must have in common with its beginning, as JSON values; not how long it goes on."""
        digests = [hashlib.sha256(Path(one).read_bytes()).hexdigest() for one in self.checkpoints]
        same = {
            name: value for name, value in asdict(self).items() if name not in ("checkpoints", "generations")
        }
        return {**same, "checkpoint_sha256": digests}


def search(request: Request, folder: Path, resume: bool, say: Say) -> Found:
    """Search in ``folder``, from the beginning or from where it was left.

    Raises:
        OptionError: an option is wrong or contradicts the checkpoints, the data is too little, or nothing fits the budget.
        CheckpointError: a checkpoint cannot be used.
    """
    check_drawing()
    timer: Timer = Measured(request.threads) if request.target == CPU else Predicted(request.target)
    container: Container = U8(request.size) if request.target == CPU else Grid(request.size)
    files, supernets = _supernets(request)
    genes = Genes(next(iter(supernets.values())).options, list(supernets))
    smallest = genes.uniform(genes.bits[0], largest=False)
    spec = StagedOqa(
        supernets[genes.bits[0]].subnet(genes.config(smallest)),
        genes.options,
        genes.config(smallest),
        request.size,
    ).inputs[0]
    pictures = load_pictures(
        request.data,
        spec,
        genes.options.num_classes,
        request.seed,
        request.settle_on,
        request.judge_on,
        request.test_on,
    )
    state = begin(folder, request.options(), resume)
    for bits, supernet in supernets.items():
        if bits not in state.tables:
            state.tables[bits] = _table(genes, bits, supernet, container, request, timer, say)
            state.save(folder)
    cost = _cost(genes, supernets, state.tables, request.size)
    least = min((cost(genes.uniform(bits, largest=False)), bits) for bits in genes.bits)
    if least[0] > request.budget_ms:
        raise OptionError(
            f"--budget-ms {request.budget_ms:g}: the smallest subnet takes {least[0]:.3g} ms ({timer.label}); ask for more"
        )
    judge = Judge(genes, supernets, pictures, spec)

    def progress(generation: int, done: int, latest: Judged) -> None:
        state.save(folder)
        best = max(state.judged, key=lambda one: one.accuracy)
        say(
            f"generation {generation} of {request.generations}: {done} of {request.population}; latest {latest.ms:.2f} ms "
            f"{100 * latest.accuracy:.1f} %, best {best.ms:.2f} ms {100 * best.accuracy:.1f} %", done == request.population,
        )  # fmt: skip

    settings = Settings(request.budget_ms, request.population, request.generations, request.seed)
    evolve(genes, cost, judge.accuracy, settings, state.judged, progress)
    best = front(state.judged)
    points = _measured_whole(best, genes, supernets, container, timer, judge, say)
    draw(state.judged, best, request.budget_ms, timer.label, folder / "front.png")
    commands = {bits: _command(request, files[bits], bits) for bits in genes.bits}
    found = Found(
        request.budget_ms,
        timer.label,
        state.tables,
        points,
        len(state.judged),
        pictures,
        commands,
        str(folder),
    )
    found.save(folder)
    return found


def _supernets(request: Request) -> tuple[dict[int, str], dict[int, Supernet]]:
    """The checkpoints' files and networks, by bits."""
    files: dict[int, str] = {}
    supernets: dict[int, Supernet] = {}
    for name in ("subnet", "ks", "e", "d", "recalibrate"):
        if name in request.config:
            raise OptionError(f"--config {name}: is what the search finds; leave it out")
    for number, file in enumerate(request.checkpoints):
        told = {} if request.bits is None else {"bits": request.bits[number]}
        supernet = supernet_of(read_state_dict(file), {**request.config, **told}, file)
        bits = supernet.options.bits
        if bits in supernets:
            raise OptionError(
                f"--checkpoint {file}: {files[bits]} has {bits} bits too; one supernet for each width"
            )
        files[bits], supernets[bits] = file, supernet
        first = next(iter(supernets.values())).options
        if replace(supernet.options, bits=first.bits) != first:
            raise OptionError(
                f"--checkpoint {file}: has another space than {request.checkpoints[0]}; search them apart"
            )
    return files, supernets


def _table(
    genes: Genes,
    bits: int,
    supernet: Supernet,
    container: Container,
    request: Request,
    timer: Timer,
    say: Say,
) -> Table:
    generator = random.Random(request.seed)
    chosen = [genes.uniform(bits, largest=False), genes.uniform(bits, largest=True)]
    chosen += [genes.draw(generator) for _ in range(CHECKED)]
    checks = {one.subnet: genes.config(one) for one in chosen}
    table = tabulate(
        supernet, container, request.size, timer, checks,
        lambda done, of: say(f"{bits} bit: preparing parts, {done} of {of}", done == of),
    )  # fmt: skip
    say(
        f"{bits} bit: {len(table.parts)} parts timed; sums, times {table.factor:.3f}, are within {100 * table.worst:.1f} % of "
        f"{len(checks)} whole networks ({timer.label})", True,
    )  # fmt: skip
    return table


def _cost(
    genes: Genes, supernets: Mapping[int, Supernet], tables: Mapping[int, Table], size: tuple[int, int]
) -> Callable[[Candidate], float]:
    @cache
    def cost(candidate: Candidate) -> float:
        names = part_names(supernets[candidate.bits], genes.config(candidate), size)
        return tables[candidate.bits].ms(names)

    return cost


def _measured_whole(
    best: Sequence[Judged], genes: Genes, supernets: Mapping[int, Supernet], container: Container, timer: Timer, judge: Judge,
    say: Say,
) -> list[Point]:  # fmt: skip
    """The front's networks, timed whole and in turns, and measured on pictures that decided nothing."""
    graphs: dict[str, bytes] = {}
    right: dict[str, float] = {}
    for number, one in enumerate(best, 1):
        net = supernets[one.candidate.bits].subnet(genes.config(one.candidate))
        graphs[str(one.candidate)] = written(container.whole(net))
        right[str(one.candidate)] = judge.unseen_accuracy(one.candidate)
        say(f"measuring the front: {number} of {len(best)}", number == len(best))
    times = timer(graphs)
    return [
        Point(
            one.candidate.bits,
            one.candidate.subnet,
            one.ms,
            times[str(one.candidate)],
            one.accuracy,
            right[str(one.candidate)],
        )
        for one in best
    ]


def _command(request: Request, file: str, bits: int) -> str:
    """The command that exports a subnet, up to its name."""
    data = Path(request.data)
    settle = str(data / "train") if (data / "train").is_dir() and (data / "test").is_dir() else request.data
    config = {**request.config, "bits": bits, "recalibrate": settle}
    words = [f"{name}={_word(value)}" for name, value in config.items()]
    height, width = request.size
    command = ["edgekit", "export", "--model", "oqa", "--checkpoint", file, "--target", request.target]
    return shlex.join([*command, "--size", f"{height}x{width}", "--config", *words, "--subnet"])


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
