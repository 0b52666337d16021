"""From the tables of a file to the problem: sites and terms, tree, first state."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tnet
from contraction.errors import InputError, TnetError
from integrators.simulation.tables import Table, call_with, check_known, nearest
from tnet.failures import UsageError
from tnet.network import Network
from tnet.structure import Structure

TREES = ("balanced", "chain", "star", "custom", "file")
MOST_STAR = 2**24  # entries of the middle of a star whose ranks are two
NAMED = ("up", "down", "plus", "minus", "uniform")


class Problem(NamedTuple):
    """What a file says about the physics: sites with their sizes, and terms."""

    sites: Mapping[str, int]
    terms: Sequence[Any]


def model_names() -> dict[str, Any]:
    """Return name -> function of every model that can be named in a file."""
    from integrators import models

    found = {}
    for name in models.__all__:
        function = getattr(models, name)
        if inspect.isfunction(function) and inspect.signature(function).return_annotation in (
            "Model",
            models.Model,
        ):
            found[name] = function
    return found


def read_problem(file: Table) -> Problem:
    """Return sites and terms: of a named model, of the file's own terms, or of both."""
    sites: dict[str, int] = {}
    terms: list[Any] = []
    if "model" in file:
        table = file.table("model")
        known = model_names()
        model = call_with(known[table.text("name", choices=known)], table, skip=["name"])
        sites, terms = dict(model.sites), list(model)
    elif "sites" not in file:
        file.take("sites", None)
        raise UsageError(
            "the file names no model and no sites.",
            hint='write [model] with name = "ising", or [sites] and [[terms]]',
        )
    if "sites" in file:
        table = file.table("sites")
        if sites:
            raise UsageError("[sites] are those of the model; leave them out.")
        sites = {name: table.count(name) for name in table.data}
        if not sites:
            raise UsageError("[sites] is empty; give each site its number of states.")
    written = file.take("terms", [])
    if not isinstance(written, list):
        raise file.wrong("terms", "a list of tables, [[terms]]", written)
    for number, item in enumerate(written):
        terms += _terms(Table(item, f"[[terms]] no. {number + 1}"), sites)
    if not terms:
        raise UsageError("the file holds no terms: nothing would happen.")
    return Problem(sites, terms)


def _terms(table: Table, sites: Mapping[str, int]) -> list[Any]:
    """Return the terms of one table: a product, one for each site, or one for each two neighbours.

    `factors` names sites; `each` is on every site; `neighbours` on every two in order.
    """
    coefficient = number_of(table, "coefficient", 1.0)
    ways = [key for key in ("factors", "each", "neighbours") if key in table]
    if len(ways) != 1:
        raise UsageError(f"{table.where} needs one of `factors`, `each` or `neighbours`.")
    names = list(sites)
    if ways == ["factors"]:
        factors = table.table("factors")
        for name in factors.data:
            check_known(name, names, factors.where)
        products = [{name: local_of(factors, name) for name in factors.data}]
        if not factors.data:
            raise UsageError(f"{factors.where} is empty.")
    elif ways == ["each"]:
        op = local_of(table, "each")
        products = [{name: op} for name in names]
    else:
        pair = table.take("neighbours")
        if not isinstance(pair, list) or len(pair) != 2:
            raise table.wrong("neighbours", 'two operators such as ["x", "x"]', pair)
        held = Table({"left": pair[0], "right": pair[1]}, table.where)
        left, right = local_of(held, "left"), local_of(held, "right")
        products = [{a: left, b: right} for a, b in pairwise(names)]
    table.take("factors", None)
    table.done()
    return [tnet.Term(coefficient, product) for product in products]


def number_of(table: Table, key: str, default: complex) -> complex:
    """Return a number, real or as [real, imaginary]."""
    value = table.take(key, default)
    parts = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(_real(x) for x in parts):
        raise table.wrong(key, "a number or [real, imaginary]", value)
    return complex(*parts) if len(parts) == 2 else float(value)


def local_of(table: Table, key: str) -> Any:
    """Return a local operator: a name, a matrix, or {real = matrix, imag = matrix}."""
    value = table.take(key)
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, Mapping) else {"real": value}
    if not parts or set(parts) - {"real", "imag"}:
        raise table.wrong(key, "a name, a matrix, or {real = ..., imag = ...}", value)
    made = {name: _matrix(table, key, rows) for name, rows in parts.items()}
    real, imag = made.get("real"), made.get("imag")
    if real is not None and imag is not None and real.shape != imag.shape:
        raise table.wrong(key, "two matrices of one shape", value)
    if imag is None:
        return real
    return 1j * imag if real is None else real + 1j * imag


def _matrix(table: Table, key: str, rows: Any) -> Any:
    good = isinstance(rows, list) and rows and all(isinstance(row, list) for row in rows)
    if not good or any(len(row) != len(rows) or not all(map(_real, row)) for row in rows):
        raise table.wrong(key, "a square matrix of numbers", rows)
    return np.asarray(rows, dtype=np.float64)


def _real(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)


def read_tree(file: Table, sites: Mapping[str, int], folder: Path) -> Structure:
    """Return the tree that the file asks for, on its sites; balanced where it does not say."""
    table = file.table("tree", {})
    kind = table.text("kind", "balanced", choices=TREES)
    order = table.names("order", list(sites), known=sites)
    if len(order) != len(sites):
        missing = sorted(set(sites) - set(order))[:6]
        raise UsageError(f"[tree] order must name every site; {missing} are missing.")
    shape = {name: sites[name] for name in order}
    if kind == "file":
        found = _stored(folder / table.text("file"), shape)
    elif kind == "custom":
        found = _custom(table, shape)
    elif kind == "chain":
        found = tnet.tensor_train(shape)
    elif kind == "star":
        if 2 ** len(shape) > MOST_STAR:
            raise UsageError(
                f"a star of {len(shape)} sites has a middle of 2^{len(shape)} entries or more.",
                hint='take kind = "balanced" or "chain"',
            )
        found = tnet.tucker(shape)
    else:
        found = tnet.balanced_tree(shape)
    table.take("nested", None)
    table.done()
    return found


def _stored(path: Path, shape: Mapping[str, int]) -> Structure:
    """Return the tree of a stored network, all ranks one."""
    found = tnet.load(path).structure
    if {mode: found.size[mode] for mode in found.modes} != dict(shape):
        raise UsageError(f"the network of {path} has not the sites of this file, or other sizes.")
    if len(found.bonds) != len(found.node_names) - 1:
        raise UsageError(f"the network of {path} is no tree.")
    return found.resized(dict.fromkeys(found.bonds, 1))


def _custom(table: Table, shape: Mapping[str, int]) -> Structure:
    nested = table.take("nested")
    if not isinstance(nested, list):
        raise table.wrong("nested", 'nested lists of sites such as [["s0", "s1"], "s2"]', nested)
    seen: list[str] = []
    work: list[Any] = [nested]
    while work:
        for item in work.pop():
            if isinstance(item, str):
                check_known(item, shape, f"{table.where} nested")
                seen.append(item)
            elif isinstance(item, list) and item:
                work.append(item)
            else:
                raise table.wrong("nested", "lists of sites and of lists", item)
    if sorted(seen) != sorted(shape):
        odd = sorted({s for s in seen if seen.count(s) > 1} | (set(shape) - set(seen)))[:6]
        raise UsageError(f"{table.where} nested must hold every site once; look at {odd}.")
    return tnet.tree(nested, shape)


def read_state(file: Table, tree: Structure, folder: Path) -> Network:
    """Return the first state: a product state, or a network from a file."""
    table = file.table("state", {"all": 0})
    if "file" in table:
        path = folder / table.text("file")
        table.done()
        net = tnet.load(path)
        if not net.structure.same_graph(tree) or net.shape != tree.shape:
            raise UsageError(f"the network of {path} is not on the tree of this file.")
        return net
    own = table.table("sites", {})
    for name in own.data:
        check_known(name, tree.modes, own.where)
    pattern = table.take("pattern", None)
    if pattern is not None and (not isinstance(pattern, list) or not pattern or "all" in table):
        raise table.wrong("pattern", "a list that is repeated, instead of `all`", pattern)
    vectors = {}
    for k, site in enumerate(tree.modes):
        if site in own:
            vectors[site] = _vector(own, site, own.take(site), tree.size[site])
        elif pattern is not None:
            vectors[site] = _vector(table, "pattern", pattern[k % len(pattern)], tree.size[site])
        else:
            vectors[site] = _vector(table, "all", table.take("all"), tree.size[site])
    table.take("all", None)
    table.take("file", None)
    table.done()
    try:
        return tnet.product_state(tree, vectors)
    except TnetError as error:
        raise UsageError(f"[state]: {error}") from error


def _vector(table: Table, key: str, value: Any, size: int) -> Any:
    """Return a normalised vector: the number of a basis state, a name, or entries."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < size:
            raise table.wrong(key, f"a basis state from 0 to {size - 1}", value)
        return _basis(value, size)
    if isinstance(value, str):
        if value not in NAMED:
            raise UsageError(
                f"{table.where} {key}: {value!r} is not known.", hint=nearest(value, NAMED)
            )
        if value in ("plus", "minus") and size != 2:
            raise table.wrong(key, f"a state of {size} levels ({value} has two)", value)
        if value in ("up", "down"):
            return _basis(0 if value == "up" else size - 1, size)
        found: Any = np.ones(size) / math.sqrt(size)
        return found * (np.asarray([1.0, -1.0]) if value == "minus" else 1.0)
    if not isinstance(value, list) or len(value) != size:
        raise table.wrong(key, f"a name, a basis state, or {size} entries", value)
    entries = [Table({"entry": x}, f"{table.where} {key}") for x in value]
    found = np.asarray([number_of(entry, "entry", 0.0) for entry in entries])
    norm = float(np.linalg.norm(found))
    if not norm > 0.0:
        raise InputError(f"{table.where} {key}: the vector is zero.")
    return found / norm


def _basis(k: int, size: int) -> Any:
    found = np.zeros(size)
    found[k] = 1.0
    return found
