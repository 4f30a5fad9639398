"""The options that write what happened: `--trace` for people, in Perfetto, and `--record` for `edgekit simulate`."""

import argparse
from typing import Dict

from edgekit.runtime.result import Result
from edgekit.runtime.session import Session
from edgekit.runtime.simulation.recording import Recording, write_recording
from edgekit.runtime.trace import of_recorded, of_result, trace, write_trace


def add_trace_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--trace``."""
    parser.add_argument(
        "--trace",
        metavar="FILE",
        help="write a timeline as JSON that ui.perfetto.dev and chrome://tracing open",
    )


def add_timeline_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--trace`` and ``--record``."""
    add_trace_option(parser)
    parser.add_argument(
        "--record", metavar="FILE", help="write every frame's times and decisions, for `edgekit simulate`"
    )


def write_timelines(args: argparse.Namespace, recording: Recording, session: Session) -> None:
    """Write the files that were asked for."""
    if args.record is not None:
        write_recording(args.record, recording)
    if args.trace is not None:
        exits = [name for name, has_exit in recording.stages if has_exit]
        frames = [of_recorded(frame, exits) for frame in recording.frames]
        settings = {
            "network": recording.network,
            "fingerprint": dict(recording.fingerprint),
            "settings": dict(recording.settings),
        }
        write_trace(
            args.trace, trace(frames, [name for name, _ in recording.stages], settings, networks_of(session))
        )


def write_run_trace(args: argparse.Namespace, session: Session, result: Result) -> None:
    """Write the timeline of the one frame of `edgekit run`, if it was asked for."""
    if args.trace is None:
        return
    settings = {
        "network": session.manifest.name,
        "fingerprint": session.fingerprint.to_json(),
        "settings": {"verb": "run", "budget_ms": args.budget_ms, "variants": dict(session.variants)},
    }
    stages = [stage.name for stage in session.stages]
    write_trace(args.trace, trace([of_result(result)], stages, settings, networks_of(session)))


def networks_of(session: Session) -> Dict[str, str]:
    """Which network each stage is of, where the session runs several."""
    return {stage: network.name for network in session.manifest.networks for stage in network.stages}
