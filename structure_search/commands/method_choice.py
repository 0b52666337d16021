"""Which search method, and with what options, as the shell says it.

Light imports only: `METHOD_LINES` is shown by ``tnet search --help``. The methods themselves are
looked up in the registry when a command runs, so one without a line here can be chosen too.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import enum
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tnet.console import Console, ExitCode
from tnet.failures import UsageError


class MethodLine(NamedTuple):
    """A method in the shell.

    Its class, one line of help, the goal it cannot do without, and the option that says how many
    structures it tries in all, where there is one.
    """

    kind: str
    help: str
    needs: str = ""
    total: str = ""


METHOD_LINES: Mapping[str, MethodLine] = {
    "adaptive": MethodLine(
        "Adaptive", "what suits the data and the goal, one strategy after the other"
    ),
    "greedy": MethodLine("Greedy", "grow bond by bond, then take away what is not needed"),
    "smallest-first": MethodLine(
        "SmallestFirst", "small graphs in the order of their size, until they fit", needs="tol"
    ),
    "core-shape": MethodLine("CoreShape", "the best Tucker core shape within a budget"),
    "cut-rank": MethodLine("CutRank", "graph and ranks read off the spectra of all bipartitions"),
    "tree-search": MethodLine(
        "TreeSearch", "the best tree and ranks, from spectra of bipartitions"
    ),
    "tnale": MethodLine("TnALE", "one rank or exchange of modes at a time, over neighbourhoods"),
    "tnls": MethodLine("TNLS", "random neighbours of the best structure so far"),
    "tnga": MethodLine("TNGA", "a genetic algorithm over ranks and modes"),
    "svdinstn": MethodLine("SVDinsTN", "all edges at once, with factors that become sparse"),
    "random": MethodLine(
        "RandomSearch", "structures drawn at random: the yardstick", total="samples"
    ),
}
DEFAULTS = ("adaptive", "greedy")  # the first that is installed
FLAGS = ("max_rank", "max_degree", "max_params")  # fields of methods that are flags as well
HIDDEN = ("Reuse",)  # has an option of its own
UNLIMITED = 10**9  # samples, where the budget or the time ends the search
WORDS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


def nearest(name: str, known: Iterable[str], *, most: int = 12) -> str:
    """Return a hint: the known name most like `name`, or the known names.

    Examples
    --------
    >>> nearest("gredy", ["greedy", "random"])
    "did you mean 'greedy'?"
    >>> nearest("xyz", ["greedy", "random"])
    'known: greedy, random'
    """
    names = list(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"known: {', '.join(names[:most])}{more}" if names else "there are none"


def kebab(kind: str) -> str:
    """Return the name in the shell of a class without a line of its own.

    Examples
    --------
    >>> kebab("CutRank"), kebab("TNGA")
    ('cut-rank', 'tnga')
    """
    parts = [
        f"-{c}" if i and c.isupper() and not kind[i - 1].isupper() else c
        for i, c in enumerate(kind)
    ]
    return "".join(parts).lower()


def method_classes() -> dict[str, Any]:
    """Return name in the shell -> class, of all methods that are installed."""
    from structure_search.methods.registry import METHODS

    found = {
        name: METHODS[line.kind] for name, line in METHOD_LINES.items() if line.kind in METHODS
    }
    rest = {
        kebab(name): kind
        for name, kind in METHODS.items()
        if kind not in found.values() and name not in HIDDEN
    }
    return found | rest


def method_class(name: str) -> Any:
    """Return the class of a method.

    Raises
    ------
    UsageError
        There is no such method; the hint names the nearest.
    """
    known = method_classes()
    if name not in known:
        raise UsageError(f"{name!r} is no search method.", hint=nearest(name, known))
    return known[name]


def default_method() -> str:
    """Return the name of the method that is used when none is named."""
    known = method_classes()
    return next(name for name in DEFAULTS if name in known)


def method_help(name: str) -> str:
    """Return one line about a method."""
    if name in METHOD_LINES:
        return METHOD_LINES[name].help
    text = (method_class(name).__doc__ or "").strip().splitlines()[0]
    return text.partition(": ")[2] or text


class Option(NamedTuple):
    """An option of a method: a field of its dataclass."""

    name: str
    hint: Any  # its type
    default: Any  # dataclasses.MISSING if it has none


def method_options(kind: Any) -> dict[str, Option]:
    """Return the options of a method by name."""
    hints = typing.get_type_hints(kind)
    found = {}
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.init:
            found[field.name] = Option(field.name, hints[field.name], default)
    return found


def split_settings(words: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` words.

    Examples
    --------
    >>> split_settings(["look-ahead=6"])
    {'look_ahead': '6'}
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        key = name.strip().replace("-", "_")
        if not equals or not key:
            raise UsageError(f"--set {word!r} is no option.", hint="write --set NAME=VALUE")
        if key in found:
            raise UsageError(f"--set {name.strip()} is given twice.")
        found[key] = value.strip()
    return found


def read_value(text: Any, hint: Any, what: str) -> Any:
    """Return a value of the type `hint` from what a user wrote: text, or a value of TOML.

    Raises
    ------
    UsageError
        It is not of that type.

    Examples
    --------
    >>> read_value("3", int | None, "max_degree"), read_value("none", int | None, "max_degree")
    (3, None)
    """
    kinds = typing.get_args(hint) if _is_union(hint) else (hint,)
    for kind in kinds:
        try:
            return _read_one(text, kind)
        except (ValueError, TypeError, KeyError):
            continue
    names = option_words(Option("", hint, None))
    raise UsageError(f"{what}: {text!r} is not {names}.")


def _is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union


def _read_one(value: Any, kind: Any) -> Any:
    word = value.strip() if isinstance(value, str) else value
    if kind is type(None):
        if word is None or (isinstance(word, str) and word.lower() in ("none", "")):
            return None
        raise ValueError
    if kind is bool:
        return word if isinstance(word, bool) else WORDS[word.lower()]
    if isinstance(word, bool):
        raise ValueError
    if kind in (int, float):
        if kind is int and isinstance(word, float):
            raise ValueError
        return kind(word)
    if kind is str:
        return str(word)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        named = {str(member.value).lower(): member for member in kind}
        named |= {member.name.lower().replace("_", "-"): member for member in kind}
        return named[str(word).lower().replace("_", "-")]
    if typing.get_origin(kind) in (tuple, list) or _is_sequence(kind):
        item = next(iter(typing.get_args(kind)), str)
        parts = word.replace("x", ",").split(",") if isinstance(word, str) else word
        return tuple(_read_one(part, item) for part in parts)
    raise TypeError


def _is_sequence(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, typing.Sequence)


def type_words(kind: Any) -> str:
    """Return a type in words.

    Examples
    --------
    >>> type_words(int), type_words(bool)
    ('a whole number', 'yes or no')
    """
    known = {int: "a whole number", float: "a number", bool: "yes or no", str: "text"}
    known |= {type(None): "none"}
    if kind in known:
        return known[kind]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(m.name.lower().replace("_", "-") for m in kind)
    if typing.get_origin(kind) is not None and typing.get_args(kind):
        return f"a list of {type_words(typing.get_args(kind)[0])}"
    return "something that only Python can give"


def make_method(
    name: str, settings: Mapping[str, Any], *, flags: Mapping[str, Any], unlimited: bool = False
) -> Any:
    """Return a method with its options.

    Parameters
    ----------
    name
        Its name in the shell.
    settings
        Options as text or as TOML gives them, by field name.
    flags
        Values of real flags by field name; None was not given. `max_params` is a goal, too, so
        a method without such a field ignores it.
    unlimited
        Whether something else ends the search, so that methods that draw samples need no end.

    Raises
    ------
    UsageError
        An unknown option (the hint names the nearest), a value of another type, one that the
        method refuses, or one that is missing.
    """
    from contraction.errors import InputError

    kind = method_class(name)
    options = method_options(kind)
    values: dict[str, Any] = {}
    for key, text in settings.items():
        if key not in options:
            raise UsageError(
                f"--method {name} has no option {key!r}.", hint=nearest(key, list(options))
            )
        values[key] = read_value(text, options[key].hint, f"--set {key}")
    for key, value in flags.items():
        if value is None or (key == "max_params" and key not in options):
            continue
        flag = f"--{'no-' if value is False else ''}{key.replace('_', '-')}"
        if key not in options:
            raise UsageError(
                f"{flag} is no option of --method {name}.", hint=_options_line(options)
            )
        if key in values:
            raise UsageError(f"{flag} and --set {key} say the same; give one.")
        values[key] = value
    line = METHOD_LINES.get(name)
    if unlimited and line is not None and line.total:
        values.setdefault(line.total, UNLIMITED)  # a limit ends it, so that more can be had
    for key, option in options.items():
        if option.default is dataclasses.MISSING and key not in values:
            flag = f"--{key.replace('_', '-')}" if key in FLAGS else f"--set {key}=VALUE"
            raise UsageError(f"--method {name} needs {flag}.")
    try:
        return kind(**values)
    except InputError as error:
        raise UsageError(f"--method {name}: {error}", hint=_options_line(options)) from None


def _options_line(options: Mapping[str, Option]) -> str:
    return f"its options: {', '.join(options)}" if options else "it has no options"


def add_method_options(parser: argparse.ArgumentParser) -> Any:
    """Add --method, --set and the common fields of methods as flags; return their group."""
    group = parser.add_argument_group("the search")
    listed = ", ".join(METHOD_LINES)
    default = f"by default {' or '.join(DEFAULTS)}, whichever is there"
    group.add_argument("--method", metavar="NAME", help=f"how to search, {default}: {listed}")
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
        help="an option of the method; --list-methods shows them",
    )  # fmt: skip
    return group


def show_methods(chosen: str | None, console: Console) -> int:
    """Write the methods, or the options of one, as a table."""
    if chosen is None:
        rows = [(name, method_help(name)) for name in sorted(method_classes())]
        console.table(["method", "how it searches"], rows)
        console.out("\ntnet search --list-methods --method NAME shows the options of one")
        console.result({"methods": dict(rows)})
        return ExitCode.DONE
    options = method_options(method_class(chosen)).values()
    lines = [(o.name, option_words(o), "needed" if _needed(o) else str(o.default)) for o in options]
    console.table(["option", "takes", "default"], lines, title=f"{chosen}: {method_help(chosen)}")
    console.out("\nset them with --set NAME=VALUE, or in a file of --config under [options]")
    console.result(
        {"method": chosen, "options": [dict(zip(HEADS, row, strict=True)) for row in lines]}
    )
    return ExitCode.DONE


HEADS = ("name", "takes", "default")


def _needed(option: Option) -> bool:
    return option.default is dataclasses.MISSING


def option_words(option: Option) -> str:
    """Return what an option takes, in words.

    Examples
    --------
    >>> option_words(Option("max_degree", int | None, None))
    'a whole number or none'
    """
    kinds = typing.get_args(option.hint) if _is_union(option.hint) else (option.hint,)
    return " or ".join(dict.fromkeys(type_words(kind) for kind in kinds))
