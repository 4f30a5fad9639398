"""The sessions that together run every stage of a bundle: one, or one for each of its networks."""

import argparse
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from edgekit.bundle import Bundle, Manifest
from edgekit.errors import BackendError, OptionError
from edgekit.runtime.closing import Closing
from edgekit.runtime.measurement import Frame
from edgekit.runtime.policies import Policy
from edgekit.runtime.session import Session
from edgekit.runtime.verbs.options import providers_of


def add_network_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--network``."""
    parser.add_argument(
        "--network", metavar="NAME", help="of a bundle with several networks, this one alone (see inspect)"
    )


def networks_asked_for(args: argparse.Namespace, manifest: Manifest) -> List[Optional[str]]:
    """The networks to run, each by itself; [None]: the only one there is.

    Raises:
        OptionError: there is none of the name that was asked for.
    """
    if args.network is not None:
        manifest.only(args.network)
        return [args.network]
    several: List[Optional[str]] = [network.name for network in manifest.networks]
    return several or [None]


def check_one_network(option: str, args: argparse.Namespace, manifest: Manifest) -> None:
    """That there is only one network to run.

    Raises:
        OptionError: there are several, and none was chosen.
    """
    if args.network is None and manifest.networks:
        names = ", ".join(network.name for network in manifest.networks)
        raise OptionError(f"{option} is for one network: add --network NAME, which is one of {names}")


def open_session(
    args: argparse.Namespace,
    path: str,
    variants: Optional[Mapping[str, str]] = None,
    policies: Optional[Sequence[Policy]] = None,
    network: Optional[str] = None,
    warmup: int = 5,
    allow_nonfinite: bool = False,
) -> Session:
    """A session of the bundle at ``path`` with the backend's and the processor's options; see `Session.open`.

    Raises:
        EdgekitError: as `Session.open`.
    """
    return Session.open(
        path, args.backend, providers_of(args), args.threads, variants, allow_nonfinite=allow_nonfinite, warmup=warmup,
        policies=policies, spin=not args.no_spin, network=network, priority=args.priority,
    )  # fmt: skip


class Sessions(Closing):
    """One session a network, which take turns; every frame runs every stage."""

    def __init__(
        self,
        args: argparse.Namespace,
        bundle: Bundle,
        variants: Optional[Mapping[str, str]],
        inputs: Mapping[str, Mapping[str, np.ndarray]],
    ) -> None:
        """Load the networks that were asked for; ``inputs`` are given by network, under "" where there is only one."""
        self.each: List[Session] = []
        self._inputs = inputs
        try:
            for network in networks_asked_for(args, bundle.manifest):
                manifest = bundle.manifest if network is None else bundle.manifest.only(network)
                names = [stage.name for stage in manifest.stages]
                own = None if variants is None else {k: v for k, v in variants.items() if k in names}
                self.each.append(open_session(args, bundle.path, own, (), network, warmup=0))
        except BaseException:
            self.close()
            raise

    @property
    def variants(self) -> Dict[str, str]:
        """The graph taken for every stage."""
        return {name: variant for session in self.each for name, variant in session.variants.items()}

    def frame(self) -> Frame:
        """One frame through every stage of every network.

        Raises:
            BackendError: a stage failed.
        """
        stage_ms: Dict[str, float] = {}
        exit_ms: Dict[str, float] = {}
        for session in self.each:
            one = run_frame(session, self._inputs[session.network or ""])
            stage_ms.update(one.stage_ms)
            exit_ms.update(one.exit_ms)
        return Frame(stage_ms, exit_ms)

    def close(self) -> None:
        """Close all of them."""
        for session in self.each:
            session.close()


def run_frame(session: Session, inputs: Mapping[str, np.ndarray]) -> Frame:
    """One frame through every stage of a session of one network."""
    exit_ms: Dict[str, float] = {}
    stage_ms: Mapping[str, float] = {}
    for result in session.anytime(budget_ms=None, **inputs):
        if result.error is not None:
            raise BackendError(result.error)
        exit_ms[str(result.stage)] = result.elapsed_ms
        stage_ms = result.stage_ms
    return Frame(dict(stage_ms), exit_ms)
