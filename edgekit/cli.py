"""The command `edgekit VERB ...`: finds the verb, imports only its module, and turns errors into one sentence."""

import argparse
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Iterator, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from edgekit.console import take_everything
from edgekit.errors import EdgekitError, ExportError, OptionError, ParityError, meant
from edgekit.interrupts import remembered


class Verb(NamedTuple):
    """One verb: ``module`` has ``add_arguments(parser)`` and ``run(args) -> exit code``.

    ``bundle`` says whether its first argument is a bundle: ``needed``, ``optional``, or None. Those verbs are the
    device's, and a bundle offers them by itself. ``elsewhere`` names an option, and the module whose ``run`` answers where
    that is given: what only a PC can answer.
    """

    name: str
    module: str
    summary: str
    bundle: Optional[str] = None
    elsewhere: Optional[Tuple[str, str]] = None


VERBS = (
    Verb("export", "edgekit.export.verb", "turn a trained network into a bundle"),
    Verb(
        "inspect",
        "edgekit.runtime.verbs.inspect",
        "show what a bundle holds",
        "needed",
        elsewhere=("target", "edgekit.export.inspection"),
    ),
    Verb(
        "verify",
        "edgekit.runtime.verbs.verify",
        "check a bundle's files and its answers on this device",
        "needed",
    ),
    Verb("build", "edgekit.runtime.verbs.build", "build the TensorRT engines of this device", "needed"),
    Verb(
        "bench",
        "edgekit.runtime.verbs.bench",
        "measure how long every stage and exit takes on this device",
        "needed",
    ),
    Verb(
        "run",
        "edgekit.runtime.verbs.run",
        "answer one picture or pair, or a camera's or a recording's frames, within a budget",
        "needed",
    ),
    Verb(
        "calibrate",
        "edgekit.runtime.verbs.calibrate",
        "set when exits are sure enough, for a latency or an accuracy of choice",
        "needed",
    ),
    Verb(
        "simulate",
        "edgekit.runtime.verbs.simulate",
        "show what the scheduler makes of measured times, at every budget",
        "needed",
    ),
    Verb(
        "compare",
        "edgekit.runtime.verbs.compare",
        "measure bundles against each other in turns, or one measurement against another",
        "several",
    ),
    Verb(
        "report",
        "edgekit.runtime.verbs.report",
        "write a page with pictures of how bundles do on this device",
        "several",
    ),
    Verb(
        "doctor", "edgekit.runtime.verbs.doctor", "say what this device is and what makes it slow", "optional"
    ),
    Verb(
        "push",
        "edgekit.runtime.verbs.push",
        "bring a bundle to a robot by ssh, and check, build and measure it there",
    ),
    Verb(
        "estimate",
        "edgekit.export.estimate.verb",
        "predict how long a bundle takes on a Jetson that is not at hand",
    ),
    Verb("models", "edgekit.models.verb", "list the networks that edgekit knows"),
    Verb("targets", "edgekit.export.targets_verb", "list the devices that a bundle can be exported for"),
    Verb("train", "edgekit.models.training.verb", "train a network by its paper's recipe"),
    Verb(
        "search",
        "edgekit.export.search.verb",
        "find the subnets of a supernet that answer best within a budget",
    ),
    Verb("completion", "edgekit.completion", "print a script that completes these names in bash or zsh"),
)
DAMAGED_PIPE, INTERRUPTED = 141, 130  # what a shell reports for a process that SIGPIPE or SIGINT ended


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving, takes no abbreviations, and knows what a mistyped option was meant to be."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; see `{self.prog} --help`")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += meant(str(value), map(str, action.choices or ()))
            raise

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments.

        Raises:
            OptionError: one is unknown, missing or has a wrong value.
        """
        options = self.option_names()
        for argument in arguments:
            if argument == "--":
                break
            name = argument.split("=")[0]
            if name.startswith("--") and name not in options:
                self.error(f"there is no option {name}{meant(name, options)}")
        return self.parse_args(arguments)

    def option_names(self) -> List[str]:
        """Every option string, such as ``--runs``, those of the parsers below this one too."""
        names = [name for action in self._actions for name in action.option_strings]
        for action in self._actions:
            below = action.choices.values() if isinstance(action.choices, dict) else ()
            names += [name for parser in below for name in parser.option_names()]
        return names


def main(arguments: Optional[Sequence[str]] = None, bundle: Optional[str] = None) -> int:
    """Run one command and return its exit code: 0 fine, 1 a check failed, 2 the call or the input was wrong.

    Args:
        arguments: as typed, without the program's name; by default those of this process.
        bundle: the bundle that this runs from; its verbs then take no bundle argument.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    take_everything()
    with remembered() as interrupts:
        try:
            code = _run(arguments, bundle)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            return _interrupted()
        except Exception as error:
            # Ctrl-C while a package is being imported may come out as any error of that package.
            return _interrupted() if interrupts else _explained(error, arguments)


def _interrupted() -> int:
    print("edgekit: interrupted", file=sys.stderr)
    return INTERRUPTED


def _explained(error: Exception, arguments: Sequence[str]) -> int:
    """Report what a user can act on in one sentence; raise the rest."""
    if isinstance(error, BrokenPipeError):
        # The reader, such as `head`, has left; without this the interpreter complains when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DAMAGED_PIPE
    if isinstance(error, EdgekitError):
        return _report(error, arguments, 1 if isinstance(error, ParityError) else 2)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return _report(OptionError(f"{place}{(error.strerror or str(error)).lower()}"), arguments, 2)
    # torch's allocator has no error of its own
    if isinstance(error, MemoryError) or (type(error) is RuntimeError and "allocate memory" in str(error)):
        return _report(EdgekitError("there is not enough memory; close other programs"), arguments, 2)
    raise error


def build_parser(verb: Verb, prog: str, bundle: Optional[str] = None) -> Parser:
    """The parser of one verb, with the bundle filled in where there is one.

    Raises:
        ExportError: the verb needs a newer Python or packages that are not installed.
    """
    parser = Parser(f"{prog} {verb.name}", verb.summary[0].upper() + verb.summary[1:] + ".")
    if verb.bundle and bundle is not None:
        parser.set_defaults(bundle=[bundle] if verb.bundle == "several" else bundle)
    elif verb.bundle:
        nargs = {"needed": None, "optional": "?", "several": "+"}[verb.bundle]
        parser.add_argument("bundle", nargs=nargs, help="a bundle, such as anynet.edgekit")
    _module(verb).add_arguments(parser)
    return parser


def _run(arguments: List[str], bundle: Optional[str]) -> int:
    prog = "edgekit" if bundle is None else f"python3 {os.path.relpath(bundle)}"
    verbs = [verb for verb in VERBS if bundle is None or verb.bundle]
    if not arguments:
        print(_help(prog, verbs), file=sys.stderr)
        return 2
    if arguments[0] == "help" and len(arguments) > 1:
        arguments = [arguments[1], "--help"]
    if arguments[0] in ("-h", "--help", "help"):
        print(_help(prog, verbs))
        return 0
    if arguments[0] == "--version":
        from edgekit import __version__

        print(f"edgekit {__version__}")
        return 0
    for verb in verbs:
        if verb.name == arguments[0]:
            args = build_parser(verb, prog, bundle).parse(arguments[1:])
            if verb.elsewhere is not None and getattr(args, verb.elsewhere[0]) is not None:
                verb = verb._replace(module=verb.elsewhere[1], bundle=None)
            with _missing_packages_told(verb):
                return int(_module(verb).run(args))
    what = "option" if arguments[0].startswith("-") else "verb"
    names = ["--help", "--version"] + [verb.name for verb in verbs]
    raise OptionError(f"there is no {what} {arguments[0]}{meant(arguments[0], names)}; see `{prog} --help`")


def _module(verb: Verb) -> ModuleType:
    if verb.bundle is None and verb.module != "edgekit.completion" and sys.version_info < (3, 10):
        raise ExportError(
            f"`edgekit {verb.name}` needs Python 3.10 or newer, this is {sys.version.split()[0]};"
            " export on a PC and copy the bundle here"
        )
    with _missing_packages_told(verb):
        return import_module(verb.module)


@contextmanager
def _missing_packages_told(verb: Verb) -> Iterator[None]:
    """Say what to install for a verb of the PC; a device's verbs look after their packages themselves."""
    try:
        yield
    except ImportError as error:
        if verb.bundle or error.name is None or error.name.startswith("edgekit"):
            raise
        extra = "train" if error.name == "cv2" else "export"
        raise ExportError(
            f"`edgekit {verb.name}` needs the package {error.name}: pip install edgekit[{extra}]"
        ) from error


def _report(error: EdgekitError, arguments: Sequence[str], code: int) -> int:
    if "--json" in arguments:
        from edgekit.runtime.report import print_json

        print_json({"error": {"type": type(error).__name__, "message": str(error)}})
    print(f"edgekit: {error}", file=sys.stderr)
    return code


def _help(prog: str, verbs: Sequence[Verb]) -> str:
    width = max(len(verb.name) for verb in verbs)
    lines = [
        f"usage: {prog} VERB [options]",
        "",
        "Run trained adaptive networks on robots, inside a latency budget.",
        "",
    ]
    lines += [f"  {verb.name.ljust(width)}  {verb.summary}" for verb in verbs]
    lines += ["", f"`{prog} VERB --help` lists a verb's options; `{prog} --version` prints the version."]
    return "\n".join(lines)
