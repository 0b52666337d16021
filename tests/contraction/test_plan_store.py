"""Plans on disk: found again, by anyone, and never trusted."""

import hashlib
import json
import math
import multiprocessing
import os
import time

import pytest

from contraction import plan_store
from contraction.plan_store import load, plan_key, store
from contraction.search.objectives import Objective
from contraction.search.problem import Found
from contraction.spec import Canonical, Spec

WORK = Canonical(((0, 1), (1, 2), (2, 3)), (0, 3), (2, 3, 4, 5))
FOUND = Found(((0, 1), (2, 3)), (1,), 7.5)
KEY = plan_key(WORK, Objective.TIME)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    monkeypatch.delenv(plan_store.VARIABLE, raising=False)
    return tmp_path / "plans"


def test_what_is_stored_is_found(folder) -> None:
    assert load(KEY, WORK) is None
    assert store(KEY, FOUND, seconds=1.0)
    assert load(KEY, WORK) == FOUND
    assert load(KEY, WORK, seconds=1.0) == FOUND
    assert load(KEY, WORK, seconds=1.5) is None  # searched for less long than is asked
    assert [path.suffix for path in folder.iterdir()] == [".json"]
    assert store(KEY, FOUND._replace(log2_cost=math.inf), seconds=2.0)
    assert load(KEY, WORK, seconds=1.5) == FOUND._replace(log2_cost=math.inf)


def test_short_searches_are_not_worth_a_file(folder) -> None:
    assert not store(KEY, FOUND, seconds=0.1)
    assert not folder.exists()


@pytest.mark.parametrize("word", ["0", "off", "No", " false "])
def test_it_can_be_turned_off(word, monkeypatch, folder) -> None:
    store(KEY, FOUND, seconds=1.0)
    monkeypatch.setenv(plan_store.VARIABLE, word)
    assert load(KEY, WORK) is None
    assert not store(KEY, FOUND, seconds=1.0)


def test_keys_tell_everything_apart_but_labels() -> None:
    first = Spec(["ab", "bc"], "ac", {"a": 2, "b": 3, "c": 4}).canonical
    same = Spec([(7, None), (None, "x")], (7, "x"), {7: 2, None: 3, "x": 4}).canonical
    assert plan_key(first, Objective.TIME) == plan_key(same, Objective.TIME)
    keys = {
        plan_key(first, Objective.TIME),
        plan_key(first, Objective.FLOPS),
        plan_key(first._replace(sizes=(2, 3, 5)), Objective.TIME),
        plan_key(first._replace(output=(2, 0)), Objective.TIME),
        plan_key(first, Objective.TIME, max_size=100),
        plan_key(first, Objective.TIME, dtype="float32"),
        plan_key(first, Objective.TIME, device="torch cpu"),
        plan_key(first, Objective.TIME, seed=1),
    }
    assert len(keys) == 8


def damaged(**changes) -> str:
    data = {"version": plan_store.VERSION, "key": KEY, "seconds": 1.0,
            "pairs": [[0, 1], [2, 3]], "slices": [], "log2_cost": 3.0} | changes  # fmt: skip
    said = json.dumps(data, sort_keys=True).encode()
    return json.dumps({"sum": hashlib.sha256(said).hexdigest()} | data)


def test_what_another_process_wrote_is_read(folder) -> None:
    folder.mkdir(parents=True)
    (folder / f"{KEY}.json").write_text(damaged())
    assert load(KEY, WORK) == Found(((0, 1), (2, 3)), (), 3.0)


def test_a_flipped_bit_is_seen(folder) -> None:
    store(KEY, FOUND, seconds=1.0)
    path = folder / f"{KEY}.json"
    text = path.read_bytes()
    found = set()
    for bit in range(8 * len(text)):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found.add(load(KEY, WORK))
    assert found == {None}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "3", "[" * 100_000, "\x00",
        damaged(version=0), damaged(key="0" * 64), damaged(pairs=[[0, 1]]),
        damaged(pairs=[[0, 1], [2, 2]]), damaged(pairs=[[0, 1], [2, 9]]),
        damaged(pairs=[[0, 1], [2, -1]]), damaged(pairs=[[0, 1], [2, True]]),
        damaged(pairs=[[0, 1], [2, 3.0]]), damaged(pairs=[[0, 1, 2], [2, 3]]),
        damaged(pairs="0123"), damaged(slices=[9]), damaged(slices=[0, 0]), damaged(slices="a"),
        damaged(seconds="x"), damaged(log2_cost=[]), damaged(seconds=10**400),
        damaged(log2_cost=10**400), damaged(sum="0" * 64),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_removed(text, folder) -> None:
    store(KEY, FOUND, seconds=1.0)
    path = folder / f"{KEY}.json"
    path.write_text(text)
    assert load(KEY, WORK) is None
    assert not path.exists()


def test_bytes_that_are_no_text_are_removed(folder) -> None:
    store(KEY, FOUND, seconds=1.0)
    path = folder / f"{KEY}.json"
    path.write_bytes(b"\xff\xfe")
    assert load(KEY, WORK) is None
    assert not path.exists()


def test_a_huge_file_is_not_read(folder, monkeypatch) -> None:
    monkeypatch.setattr(plan_store, "LARGEST", 100)
    assert not store(KEY, FOUND._replace(slices=tuple(range(99))), seconds=1.0)
    folder.mkdir(exist_ok=True)
    path = folder / f"{KEY}.json"
    path.write_text(damaged() + " " * 200)
    assert load(KEY, WORK) is None
    assert not path.exists()


def test_what_was_used_longest_ago_goes_first(folder, monkeypatch) -> None:
    monkeypatch.setattr(plan_store, "MOST_FILES", 3)
    keys = [plan_key(WORK, Objective.TIME, seed=k) for k in range(5)]
    for age, key in enumerate(keys[:3]):
        store(key, FOUND, seconds=1.0)
        os.utime(folder / f"{key}.json", (1e9 + age, 1e9 + age))
    assert load(keys[0], WORK) == FOUND  # used: now the youngest
    store(keys[3], FOUND, seconds=1.0)
    assert [load(key, WORK) is not None for key in keys] == [True, False, True, True, False]
    monkeypatch.setattr(plan_store, "MOST_BYTES", 1)
    store(keys[4], FOUND, seconds=1.0)
    assert not list(folder.iterdir())


def test_abandoned_temporary_files_go(folder) -> None:
    folder.mkdir()
    old, new = folder / ".a.0.tmp", folder / ".b.0.tmp"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (1e9, 1e9))
    store(KEY, FOUND, seconds=1.0)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_cannot_be_made_is_no_error(folder) -> None:
    folder.write_text("in the way")
    assert not store(KEY, FOUND, seconds=1.0)
    assert load(KEY, WORK) is None


def _many(folder: str, start: int) -> None:
    os.environ["TNET_CACHE"] = folder
    plan_store.MOST_FILES = 5
    for k in range(60):
        key = plan_key(WORK, Objective.TIME, seed=(start + k) % 10)
        store(key, FOUND, seconds=1.0)
        assert load(key, WORK) in (FOUND, None)


def test_processes_may_share_it(folder) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_many, args=(str(folder.parent), 3 * k)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    left = [path for path in folder.iterdir() if path.suffix == ".json"]
    assert 1 <= len(left) <= 15
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]
    assert time.time() - max(path.stat().st_mtime for path in left) < 60
