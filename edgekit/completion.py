"""Shell completion: a small static script made from the verbs' own parsers, so that the two cannot drift apart."""

import argparse
from typing import Dict, Iterable, List, Tuple

from edgekit.cli import VERBS, Parser, build_parser
from edgekit.errors import EdgekitError

SCRIPT = """\
_edgekit() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb=${{COMP_WORDS[1]}} words=
    if [ "$COMP_CWORD" = 1 ]; then
        words="{verbs}"
    elif case "$verb $before" in
{choices}
        *) false;; esac; then :
    elif case "$current" in -*) true;; *) false;; esac; then
        case "$verb" in
{options}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _edgekit edgekit
"""
ZSH = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shell's name."""
    parser.add_argument(
        "shell",
        choices=("bash", "zsh"),
        help="source what is printed, or save it where your shell keeps completions",
    )


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print((ZSH if args.shell == "zsh" else "") + script(), end="")
    return 0


def script() -> str:
    """The script for bash; zsh runs it through its emulation of bash's completion."""
    parsers: Dict[str, Parser] = {}
    for verb in VERBS:
        try:
            parsers[verb.name] = build_parser(verb, "edgekit")
        except EdgekitError:
            continue  # not installed here, so there is nothing to complete
    options: List[str] = []
    choices = ['        {}) words="{}";;'.format(*pair) for pair in _names(parsers)]
    for name, parser in parsers.items():
        options.append('        {}) words="{}";;'.format(name, " ".join(_offered(parser))))
        for action in parser._actions:
            if action.choices and action.option_strings:
                pattern = "|".join(f'"{name} {option}"' for option in action.option_strings)
                choices.append('        {}) words="{}";;'.format(pattern, " ".join(map(str, action.choices))))
            elif action.choices:
                choices.append(
                    '        "{0} {0}") words="{1}";;'.format(name, " ".join(map(str, action.choices)))
                )
    return SCRIPT.format(verbs=" ".join(parsers), choices="\n".join(choices), options="\n".join(options))


def _names(verbs: Iterable[str]) -> List[Tuple[str, str]]:
    """After which words a family or a target stands that the parsers take among others, and those that edgekit knows."""
    if "export" not in verbs:
        return []
    from edgekit.export.targets import targets
    from edgekit.models.families import families

    target = " ".join(target.name for target in targets())
    family = " ".join(family.name for family in families())
    return [('"export --target"|"inspect --for"', target), ('"export --model"', family)]


def _offered(parser: Parser) -> List[str]:
    names: List[str] = []
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            names += [name for name in action.option_strings if name.startswith("--")]
        if isinstance(action.choices, dict):  # verbs below this one
            names += [name for below in action.choices.values() for name in _offered(below)]
    return list(dict.fromkeys(names))
