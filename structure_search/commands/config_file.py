"""Options from the environment, and from a TOML file: `--config FILE`, `--print-config`.

What is said on the command line wins over the environment (`TNET_TOL` for `--tol`), that over
the file, and the file over the defaults. An unknown key of a file is an error that names the
nearest one.
"""

from __future__ import annotations

import argparse
import enum
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from structure_search.commands.method_choice import nearest
from tnet.failures import UsageError
from tnet.options import environment, variable
from tnet.toml_files import read_toml

TABLE = "options"  # of the file: the options of the method
NOT_IN_FILES = {"help", "config", "print_config", "list_methods", "dry_run", "json", "quiet"}
NOT_IN_FILES |= {"verbose", "no_progress", "no_color", "settings", "version"}
TRUTHS = dict.fromkeys(("1", "yes", "true", "on"), True) | dict.fromkeys(
    ("0", "no", "false", "off"), False
)


def make_configurable(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and `--print-config`; call it when all other options are there.

    The defaults move from the options to `settle`: whatever is on the namespace has been said,
    on the command line or in the file.
    """
    group = parser.add_argument_group("options from a file")
    group.add_argument(
        "--config", metavar="FILE.toml", action=_Config, help="read options from a file"
    )
    group.add_argument(
        "--print-config", action="store_true", help="write the options as such a file, and stop"
    )
    defaults = {}
    for action in parser._actions:
        if action.default is not argparse.SUPPRESS:
            defaults[action.dest] = action.default
            action.default = argparse.SUPPRESS
    parser.set_defaults(defaults=defaults, actions={a.dest: a for a in _in_files(parser)})


def _in_files(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.dest not in NOT_IN_FILES]


def settle(args: argparse.Namespace) -> None:
    """Give every option that nobody has set its value of the environment, or its default.

    Raises
    ------
    UsageError
        A variable has a value that its option cannot have.
    """
    for name, value in args.defaults.items():
        if not hasattr(args, name):
            words = environment(name) if name in args.actions else None
            if words is not None:
                value = _value(
                    variable(name), name, _words(words, args.actions[name]), args.actions[name]
                )
            setattr(args, name, list(value) if isinstance(value, list) else value)
    said = {_key(word) for word in args.settings}
    file_words = getattr(args, "file_settings", [])
    args.settings = [*(word for word in file_words if _key(word) not in said), *args.settings]


def _key(word: str) -> str:
    return word.partition("=")[0].strip().replace("-", "_")


@final
class _Config(argparse.Action):
    """Reads a TOML file into the namespace, under what the command line says."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Read the file `values`."""
        path = Path(str(values))
        namespace.config = str(path)
        by_name = {file_name(action.dest): action for action in _in_files(parser)}
        table = read_toml(path, "a file of options", named=f"--config {path}").tables
        namespace.file_settings = _method_words(path, table.pop(TABLE, {}))
        for key, value in table.items():
            action = by_name.get(key.replace("_", "-"))
            if action is None:
                raise UsageError(
                    f"{path}: {key!r} is no option.", hint=nearest(key, [*by_name, TABLE])
                )
            # the positional data stand before or behind --config: those given later replace these
            if not hasattr(namespace, action.dest) and environment(action.dest) is None:
                setattr(namespace, action.dest, _value(path, key, value, action))


def file_name(dest: str) -> str:
    """Return the key of an option in a file.

    Examples
    --------
    >>> file_name("max_params")
    'max-params'
    """
    return dest.replace("_", "-")


def _method_words(path: Path, table: Any) -> list[str]:
    if not isinstance(table, Mapping):
        raise UsageError(f"{path}: {TABLE!r} is a table of the options of the method.")
    return [f"{name}={_text(value)}" for name, value in table.items()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    return repr(value) if isinstance(value, float) else str(value)


def _words(text: str, action: argparse.Action) -> Any:
    """Return what a variable says as a file would say it."""
    if action.nargs == 0:
        return TRUTHS.get(text.lower(), text)
    return text.split() if action.nargs in ("*", "+") else text


def _value(path: Path | str, key: str, value: Any, action: argparse.Action) -> Any:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {key} is true or false, got {value!r}.")
        return value
    if isinstance(value, (Mapping, bool)):
        raise UsageError(f"{path}: {key} is a number, text or a list, got {value!r}.")
    if action.nargs in ("*", "+"):
        return [_text(item) for item in (value if isinstance(value, list) else [value])]
    return _checked(path, key, _text(value), action)


def _checked(path: Path | str, key: str, text: str, action: argparse.Action) -> Any:
    read = action.type if callable(action.type) else str
    known = [str(getattr(choice, "value", choice)) for choice in action.choices or ()]
    if known and text not in known:
        raise UsageError(f"{path}: {key}: {text!r} is not known.", hint=nearest(text, known))
    try:
        return read(text)
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise UsageError(f"{path}: {key}: {error}.") from None


def config_text(args: argparse.Namespace) -> str:
    """Return the options of a command as a TOML file that says the same.

    Examples
    --------
    >>> args = argparse.Namespace(defaults={"tol": None, "data": []}, settings=["sweeps=5"])
    >>> args.tol, args.data, args.seed = 1e-3, ["a.npy"], 0
    >>> print(config_text(args), end="")
    data = ["a.npy"]
    seed = 0
    tol = 0.001
    <BLANKLINE>
    [options]
    sweeps = "5"
    """
    names = {*args.defaults, "seed", "threads"} - NOT_IN_FILES - {"settings"}
    lines = []
    for name in sorted(names):
        value = getattr(args, name, None)
        if value is not None and value is not False and value != []:
            lines.append(f"{file_name(name)} = {_toml(value)}")
    if args.settings:
        lines += ["", f"[{TABLE}]"]
        for word in args.settings:
            text = word.partition("=")[2]
            lines.append(f"{_key(word)} = {_toml(text.strip())}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return _toml(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple):
        return _toml("x".join(map(str, value)))
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
