"""Reading tables of a TOML file: every value is checked, and what is left over is an error."""

from __future__ import annotations

import difflib
import enum
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, final

from contraction.errors import TnetError
from tnet.failures import UsageError

E = TypeVar("E", bound=enum.Enum)
MISSING: Any = object()
ANY = -(2**62)  # a bound that is none


@final
class Table:
    """One table of a file; values are taken from it, and `done` complains about the others.

    Parameters
    ----------
    data
        The table as `tomllib` gives it.
    where
        Its name in messages, such as "[step]"; "" for the whole file.

    Examples
    --------
    >>> table = Table({"dt": 0.1}, "[step]")
    >>> table.number("dt", above=0.0)
    0.1
    >>> table.done()
    """

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, Mapping):
            raise UsageError(f"{where or 'the file'} must be a table, got {data!r:.80}.")
        self.data, self.where = dict(data), where
        self._taken: set[str] = set()
        self._asked: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def take(self, key: str, default: Any = MISSING) -> Any:
        """Return the value of `key`, or its default."""
        self._asked.append(key)
        self._taken.add(key)
        if key in self.data:
            return self.data[key]
        if default is MISSING:
            self._taken.update(self.data)  # one complaint at a time
            near = nearest(key, self.data)
            raise UsageError(f"{self.where or 'the file'} needs `{key}`.", hint=near)
        return default

    def number(
        self,
        key: str,
        default: Any = MISSING,
        *,
        least: float = -math.inf,
        above: float = -math.inf,
        most: float = math.inf,
    ) -> Any:
        """Return a finite number within bounds."""
        value = self.take(key, default)
        if key not in self.data:
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, "a number", value)
        if not math.isfinite(value):
            raise self.wrong(key, "a finite number", value)
        if value < least or value <= above or value > most:
            bounds = [f">= {least:g}"] if least > -math.inf else []
            bounds += [f"> {above:g}"] if above > -math.inf else []
            bounds += [f"<= {most:g}"] if most < math.inf else []
            raise self.wrong(key, f"a number {' and '.join(bounds)}", value)
        return float(value)

    def count(self, key: str, default: Any = MISSING, *, least: int = 1) -> Any:
        """Return a whole number."""
        value = self.take(key, default)
        if key not in self.data:
            return value
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            bound = f" >= {least}" if least > ANY else ""
            raise self.wrong(key, f"a whole number{bound}", value)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def text(self, key: str, default: Any = MISSING, *, choices: Iterable[str] = ()) -> Any:
        """Return a text, one of `choices` if there are any."""
        value = self.take(key, default)
        if key not in self.data:
            return value
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "a text", value)
        known = list(choices)
        if known and value not in known:
            raise UsageError(
                f"{self._at(key)}: {value!r} is not known.", hint=nearest(value, known)
            )
        return value

    def choice(self, key: str, kind: type[E], default: Any = MISSING) -> Any:
        """Return a member of an enum, written as its value or its name in lower case."""
        if key not in self.data and default is not MISSING:
            self.take(key, default)
            return default
        spoken = all(isinstance(m.value, str) and m.value.isidentifier() for m in kind)
        names = {str(m.value) if spoken else m.name.lower(): m for m in kind}
        return names[self.text(key, choices=names)]

    def numbers(self, key: str, default: Any = MISSING) -> Any:
        """Return a list of finite numbers."""
        value = self.take(key, default)
        if key not in self.data:
            return value
        if not isinstance(value, list) or not all(_is_finite(x) for x in value):
            raise self.wrong(key, "a list of numbers", value)
        return [float(x) for x in value]

    def names(self, key: str, default: Any = MISSING, *, known: Iterable[str] = ()) -> Any:
        """Return a list of different texts, all of them `known` if that is given."""
        value = self.take(key, default)
        if key not in self.data:
            return value
        if not isinstance(value, list) or not all(isinstance(x, str) for x in value) or not value:
            raise self.wrong(key, "a list of names", value)
        if len(set(value)) < len(value):
            raise self.wrong(key, "a list of different names", value)
        for name in value:
            check_known(name, known, self._at(key))
        return value

    def table(self, key: str, default: Any = MISSING) -> Table:
        """Return a table within this one."""
        value = self.take(key, default)
        return Table(value, f"{self.where[:-1]}.{key}]" if self.where else f"[{key}]")

    def done(self) -> None:
        """Raise `UsageError` over the first key that nobody has asked for."""
        for key in self.data:
            if key not in self._taken:
                place = f"{self.where}: " if self.where else ""
                hint = nearest(key, dict.fromkeys(self._asked))
                raise UsageError(f"{place}{key!r} is not known here.", hint=hint)

    def wrong(self, key: str, expected: str, value: Any) -> UsageError:
        """Return the error of a value that is not what was expected."""
        return UsageError(f"{self._at(key)} must be {expected}, got {value!r:.80}.")

    def _at(self, key: str) -> str:
        return f"{self.where} {key}".strip()


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint: the known words, the nearest first.

    Examples
    --------
    >>> nearest("isin", ["ising", "heisenberg"])
    'did you mean ising? known: heisenberg, ising'
    """
    words = sorted(known)
    if not words:
        return ""
    close = difflib.get_close_matches(word, words, 1)
    listed = f"known: {', '.join(words[:24])}{', ...' if len(words) > 24 else ''}"
    return f"did you mean {close[0]}? {listed}" if close else listed


def check_known(name: str, known: Iterable[str], where: str) -> None:
    """Raise `UsageError` unless `name` is one of `known` (or nothing is)."""
    listed = list(known)
    if listed and name not in listed:
        raise UsageError(f"{where}: there is no site {name!r}.", hint=nearest(name, listed))


def _is_finite(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)


def call_with(
    function: Callable[..., Any],
    table: Table,
    *,
    skip: Iterable[str] = (),
    make: Callable[..., Any] | None = None,
) -> Any:
    """Call a function, or make a dataclass, with parameters read from a table.

    The annotations say what a value may be: numbers, whole numbers, true or false, enums by
    value, lists of numbers. `make` is called in place of the function if it is given.

    Raises
    ------
    UsageError
        An unknown parameter, one of the wrong type, one that is missing, or one that the
        function refuses.
    """
    hints = typing.get_type_hints(function)
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in set(skip):
            continue
        needed = parameter.default is inspect.Parameter.empty
        if name in table:
            given[name] = _read(table, name, hints.get(name, Any))
        elif needed:
            table.take(name)
        else:
            table.take(name, None)
    table.done()
    try:
        return (make or function)(**given)
    except UsageError:
        raise
    except TnetError as error:
        raise UsageError(f"{table.where}: {error}") from error


def _read(table: Table, name: str, hint: Any) -> Any:
    """Read one value as its annotation says."""
    for option in _options(hint):
        if option is bool:
            return table.flag(name, False)
        if inspect.isclass(option) and issubclass(option, enum.Enum):
            return _member(table, name, option)
    kinds = _options(hint)
    value = table.data[name]
    if isinstance(value, list):
        return table.numbers(name)
    if float in kinds:
        if value in ("inf",):
            table.take(name)
            return math.inf
        return table.number(name)
    if int in kinds:
        return table.count(name, least=ANY)
    raise UsageError(f"{table.where} {name}: this cannot be set from a file.")


def _member(table: Table, name: str, kind: type[enum.Enum]) -> Any:
    """Return a member of an enum by its value, or by its name in lower case."""
    value = table.take(name)
    for member in kind:
        if value == member.value or value == member.name.lower():
            return member
    known = [str(member.name.lower()) for member in kind]
    raise UsageError(
        f"{table.where} {name}: {value!r} is not known.", hint=nearest(str(value), known)
    )


def _options(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(hint) for option in _options(part)]
    return [hint]
