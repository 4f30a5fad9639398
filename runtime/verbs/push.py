"""`edgekit push user@host BUNDLE`: bring a bundle to a robot, check it there, build and measure it there if asked."""

import argparse
import os
import shlex
import sys
import time
from typing import Dict, List

from edgekit import atomic
from edgekit.bundle import Bundle, read_bundle
from edgekit.errors import EdgekitError, OptionError
from edgekit.runtime.remote import SSH, Remote
from edgekit.runtime.report import Progress, print_json, say, warn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("host", help="user@host, or a name from ~/.ssh/config")
    parser.add_argument("bundle", help="a bundle, such as anynet.edgekit")
    parser.add_argument(
        "--to", metavar="FOLDER", help="where it goes; by default its own name in the home directory"
    )
    parser.add_argument("--build", action="store_true", help="build the TensorRT engines there")
    parser.add_argument(
        "--bench",
        action="store_true",
        help="measure it there, and bring the profile back into the bundle here",
    )
    parser.add_argument("--python", default="python3", help="the Python to use there (default python3)")
    parser.add_argument(
        "--ssh",
        metavar="COMMAND",
        help=f"the ssh command with its options (default {shlex.quote(' '.join(SSH))})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Send, verify, build and measure; 1 if a check there failed."""
    if os.path.isdir(args.host) and not os.path.exists(args.bundle):
        raise OptionError(f"{args.host} is a folder here; the robot comes first, then the bundle")
    bundle = read_bundle(args.bundle, check="hash")
    folder = args.to or "~/" + os.path.basename(bundle.path)
    remote = Remote(args.host, SSH if args.ssh is None else shlex.split(args.ssh), args.python)
    total = sum(entry.bytes for entry in bundle.manifest.files.values())
    progress = Progress(f"push to {args.host}, kB", max(total // 1000, 1))
    begun = time.perf_counter()
    sent = remote.send(bundle, folder, lambda done: progress.at(done // 1000))
    seconds = time.perf_counter() - begun
    done: Dict[str, object] = {
        "host": args.host, "folder": folder, "sent_bytes": sent.sent, "there_bytes": sent.there, "seconds": seconds,
    }  # fmt: skip
    if not args.json:
        say(
            [
                f"{args.host}:{folder}: {sent.sent / 1e6:.1f} MB sent in {seconds:.1f} s, {sent.there / 1e6:.1f} MB were there"
            ]
        )
    verbs: List[List[str]] = [["build"]] if args.build else []
    verbs += [["verify"]] + ([["bench"]] if args.bench else [])
    for verb in verbs:
        if not args.json:
            say(["", f"{args.host}: {' '.join(verb)}"])
            sys.stdout.flush()  # what is printed there comes after it
            code = remote.verb(folder, verb)
        else:
            answer = done[verb[0]] = remote.answer(folder, verb)
            code = 2 if "error" in answer else int(answer.get("ok") is False)
        if code:
            warn(f"{verb[0]} failed on {args.host}")
            if args.json:
                print_json(done)
            return code
    if args.bench or args.build:
        done["profiles"] = _bring_back(remote, folder, bundle)
        if not args.json:
            say([f"profile kept here: {path}" for path in _listed(done["profiles"])])
    if args.json:
        print_json(done)
    return 0


def _bring_back(remote: Remote, folder: str, bundle: Bundle) -> List[str]:
    """Keep what was measured there in the bundle here, where `simulate` and first guesses find it."""
    kept = []
    place = os.path.join(bundle.path, "profiles")
    for name, text in remote.profiles(folder).items():
        if os.path.basename(name) != name or not name.endswith(".json"):
            continue
        path = os.path.join(place, name)
        try:
            os.makedirs(place, exist_ok=True)
            atomic.write_file(path, text.encode("utf-8"))
        except OSError as error:
            raise EdgekitError(
                f"{path} cannot be written: {(error.strerror or str(error)).lower()}"
            ) from error
        kept.append(path)
    return kept


def _listed(value: object) -> List[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
