"""`tnet info`: what a file holds, without reading more of it than needed."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contraction.errors import CheckpointError, TnetError
from tnet.console import Console, ExitCode, format_bytes
from tnet.failures import error_document, exit_code, write_error
from tnet.options import add_command, parse_size

if TYPE_CHECKING:
    from tnet.inputs import Data

ALWAYS_SCANNED = 64 * 1024**2  # bytes; reading this much takes no time worth an option
MOST_LISTED = 100
MOST_NODES_DRAWN = 64
LARGEST_JSON = 16 * 1024**2
LAST_SECOND = 253_402_300_799  # of the year 9999


def register(subparsers: Any) -> None:
    """Add `tnet info`."""
    parser = add_command(
        subparsers,
        "info",
        run,
        help="what a file, a network or a run folder holds",
        description="Show shape, dtype, size, names and findings of data files, bundled data, "
        ".tnet networks and run folders. Large files are not read through without --check.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file, FILE:KEY or a name")
    parser.add_argument("--check", action="store_true", help="read everything: NaN, range, hash")
    parser.add_argument("--memory", type=parse_size, metavar="2GiB", help="memory budget")


def run(args: argparse.Namespace, console: Console) -> int:
    """Describe each file; go on after one that cannot be read."""
    documents: list[dict[str, Any]] = []
    code = ExitCode.DONE
    for source in args.files:
        try:
            for document in describe(source, check=args.check, memory=args.memory):
                documents.append(document)
                _show(document, console)
        except TnetError as error:
            if len(args.files) == 1:
                raise
            code = code or exit_code(error)
            documents.append({"source": source, "error": error_document(error)["error"]})
            write_error(error, console)
    console.result({"files": documents}, ok=code == ExitCode.DONE)
    return code


def describe(source: str, *, check: bool, memory: int | None) -> Iterator[dict[str, Any]]:
    """Yield one document for every array, network or run that `source` holds."""
    path = Path(source)
    if path.is_dir() and (path / "run.json").exists():
        yield _of_run(path)
    elif path.suffix == ".tnet" and path.exists():
        yield _of_network(path, check)
    else:
        from tnet.inputs import open_array
        from tnet.readers.common import SeveralArraysError

        try:
            yield _of_data(open_array(source, memory=memory), check)
        except SeveralArraysError as several:
            for key in several.names[:MOST_LISTED]:
                try:
                    found = open_array(source, key=key, memory=memory)
                    yield _of_data(found, check, name=f"{source}:{key}")
                except TnetError as error:
                    yield {"source": f"{source}:{key}", "kind": "array", "findings": [str(error)]}


def _of_data(data: Data, check: bool, name: str | None = None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "source": name or data.source,
        "kind": "array",
        "shape": data.shape,
        "dtype": data.dtype,
        "entries": data.array.size,
        "bytes": data.nbytes,
        "modes": data.names,
        "mapped": not data.in_memory,
    }
    findings = list(data.notes) + _shape_findings(data)
    if check or data.in_memory or data.nbytes <= ALWAYS_SCANNED:
        scan = data.scan
        document |= {
            "finite": scan.first_bad is None,
            "missing": scan.missing,
            "infinite": scan.infinite,
            "range": [scan.least, scan.greatest],
            "norm": scan.norm,
        }
        if scan.first_bad is not None:
            findings.append(
                f"{scan.missing} NaN and {scan.infinite} infinite entries, the first at index "
                f"{scan.first_bad}; decompose with --missing mask"
            )
    else:
        findings.append("not read through; --check counts missing entries and hashes")
    if check:
        document["sha256"] = data.sha256
    return document | {"findings": findings}


def _shape_findings(data: Data) -> list[str]:
    found = []
    if data.array.dtype.kind in "iub":
        found.append(f"{data.dtype} is computed with as float64")
    empty = [name for name, size in data.modes.items() if size == 0]
    if empty:
        found.append(f"mode {empty[0]} has size 0: there is nothing to decompose")
    elif data.array.ndim < 2:
        found.append("fewer than two modes; --reshape makes more")
    return found


def _of_network(path: Path, check: bool) -> dict[str, Any]:
    import tnet
    from contraction.arrays import namespace_by_name
    from tnet.storage import file_info

    found = file_info(path)
    structure, certificate = found.structure, found.certificate
    document: dict[str, Any] = {
        "source": str(path),
        "kind": "network",
        "shape": structure.shape,
        "dtype": found.dtype,
        "modes": structure.modes,
        "nodes": len(structure.nodes),
        "is_tree": structure.is_tree,
        "ranks": dict(structure.ranks),
        "num_params": structure.num_params,
        "bytes": found.num_bytes,
        "center": found.center,
        "history": found.history,
        "findings": [],
    }
    if certificate is not None:
        document |= {
            "error": certificate.error,
            "error_kind": certificate.kind.value,
            "error_bound": certificate.bound,
        }
    if len(structure.nodes) <= MOST_NODES_DRAWN:
        document["drawing"] = str(tnet.draw(structure))
    if check:
        net = tnet.load(path)  # compares the checksum
        xp = namespace_by_name("numpy")
        finite = all(bool(xp.all(xp.isfinite(x))) for x in net.arrays.values())
        document |= {"finite": finite, "findings": ["the checksum is right"]}
    return document


def _of_run(folder: Path) -> dict[str, Any]:
    run_file, metrics = _json(folder / "run.json"), folder / "best" / "metrics.json"
    events = folder / "events.jsonl"
    count = 0
    if events.is_file():
        with open(events, "rb") as lines:
            count = sum(1 for line in lines if line.endswith(b"\n"))
    document = {"source": str(folder), "kind": "run", "events": count, "run": run_file}
    if metrics.is_file():
        document["best"] = _json(metrics)
    name = shlex.quote(str(folder))
    next_step = f"tnet resume {name} goes on with it, tnet report {name} draws it"
    return document | {"findings": [next_step]}


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError("the file is too large")
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("expected one JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(path)!r} is damaged: {error}") from error
    return found


def _show(document: Mapping[str, Any], console: Console) -> None:
    """Write the facts as `name  value` lines, the drawing and the findings below."""
    rows = [(name, _cell(name, value)) for name, value in _flat(document)]
    console.out(str(document["source"]))
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        console.out(f"  {name:<{width}}  {text}")
    for line in str(document.get("drawing", "")).splitlines():
        console.out(f"    {line}")
    for finding in document["findings"]:
        console.out(f"  - {finding}")


def _flat(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of what is worth a line; a run's own JSON one level deep."""
    hidden = {"source", "findings", "drawing", "entries"}
    for name, value in document.items():
        if name == "run":
            yield from _run_lines(value)
        elif name == "best" and isinstance(value, Mapping):
            yield from ((f"best {k}", v) for k, v in _best_of(value))
        elif name not in hidden:
            yield name, value


_SCALARS = (str, int, float)


def _best_of(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what best/metrics.json says in a word; its advice is for Python."""
    return ((k, v) for k, v in metrics.items() if isinstance(v, _SCALARS) and k != "advice")


def _run_lines(run: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in run.items():
        if name == "argv" and isinstance(value, list):
            yield "command", shlex.join(["tnet", *map(str, value[1:])])
        elif name == "created" and isinstance(value, float) and 0 < value < LAST_SECOND:
            yield name, datetime.fromtimestamp(value, UTC).isoformat(" ", "seconds")
        elif isinstance(value, Mapping):
            inner = {k: v for k, v in value.items() if isinstance(v, _SCALARS)}
            yield name, inner
        elif isinstance(value, _SCALARS) and name != "format":
            yield name, value


def _cell(name: str, value: Any) -> str:
    if name == "bytes":
        return f"{value} ({format_bytes(value)})"
    if name == "shape":
        return " x ".join(map(str, value)) or "scalar"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell("", item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.6g}" if isinstance(value, float) else str(getattr(value, "value", value))
    return text if len(text) <= 200 else text[:197] + "..."
