"""The cost model: plain data, counts that add up, profiles that are found, and those ignored."""

import json
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction import machine
from contraction.calibration_steps import RATES, Traced, draw_trials, traced
from contraction.cost import (
    CPU,
    FAR,
    MODELS,
    SCALES,
    CostModel,
    forget_models,
    model_for,
    shipped_model,
)
from contraction.errors import BackendError, InputError
from contraction.machine import Profile, QrLibrary, Quality, TallQr

counts = st.integers(1, 1 << 22)
flags = st.booleans()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    yield tmp_path
    forget_models()


def profile(**changes) -> Profile:
    key = machine.resolved_key("numpy", device="cpu", dtype="float64", threads=3)
    return Profile(
        key=replace(key, **changes),
        model=replace(CPU, gemm=1.25e-12),
        quality=Quality(median=1.1, ninth=1.4, rank_correlation=0.98, steps=400),
        tall_qr=TallQr(library=QrLibrary.TORCH, qr_ratio=1.5, svd_ratio=2.0),
    )


@given(counts, counts, counts, counts, flags, flags, st.sampled_from(sorted(MODELS)))
def test_every_estimate_is_its_counts_times_the_rates(a, b, c, d, x, y, library) -> None:
    model = MODELS[library]
    counted = traced(model)
    for plain, found in [
        (method(model), method(counted))
        for method in (
            lambda m: m.matmul(a, b, c, d),
            lambda m: m.matmul(a, 1, c, d),
            lambda m: m.matmul(1, b, 1, d),
            lambda m: m.matmul(a, b, c, 1),
            lambda m: m.syrk(a, b, c),
            lambda m: m.copy(a, 1 + b % 9, c, d),
            lambda m: m.copy(a, 1),
            lambda m: m.multiply(a, b, across=x, tile=c * y),
            lambda m: m.multiply_sum(a, b, along=x, across=y, outer=x != y, tile=c * y),
        )
    ]:
        assert isinstance(found, Traced)
        assert plain > 0.0
        assert math.isclose(float(found), plain, rel_tol=1e-12)
        added = sum(count * getattr(model, name) for name, count in found.counts.items())
        assert math.isclose(added, plain, rel_tol=1e-12)


def test_counts_pass_through_sums_and_differences() -> None:
    call, entry = Traced(2.0, {"call": 1.0}), Traced(0.5, {"entry": 1.0})
    found = (3 + 4 * (call + entry) - entry) / 2
    assert float(found) == 6.25
    assert found.counts == {"": 1.5, "call": 2.0, "entry": 1.5}


@given(counts, counts, counts, counts)
def test_more_work_is_never_cheaper(a, b, c, d) -> None:
    assert CPU.matmul(a, b + 1, c + 1, d + 1) <= CPU.matmul(a, b + 2, c + 1, d + 1)
    assert CPU.matmul(a, b, c, d) <= CPU.matmul(a + 1, b, c, d)
    assert CPU.syrk(a, b, c) <= CPU.syrk(a, b, c + 1)
    assert CPU.copy(a, b) <= CPU.copy(a + 1, b)
    assert CPU.copy(a, 1, 8, 7) <= CPU.copy(a, 1, 4, 7)
    assert CPU.multiply(a, b, across=False) <= CPU.multiply(a, b, across=True)


def test_a_gram_product_takes_less_than_a_product() -> None:
    assert 0.5 < CPU.syrk(1, 512, 512) / CPU.matmul(1, 512, 512, 512) < 0.7


def test_huge_and_empty_counts_are_harmless() -> None:
    huge = 1 << 200
    for model in MODELS.values():
        for seconds in (
            model.matmul(huge, huge, huge, huge),
            model.copy(huge, 1, huge, huge),
            model.multiply(huge, huge, across=True),
            model.multiply_sum(huge, 1, along=False, across=True),
            model.matmul(0, 0, 0, 0),
            model.copy(0, 0),
            model.multiply(0, 0, across=False),
            model.multiply_sum(0, 0, along=True, across=False),
        ):
            assert 0.0 < seconds < math.inf


def test_dict_and_back() -> None:
    for model in MODELS.values():
        assert CostModel.from_dict(json.loads(json.dumps(model.to_dict()))) == model
    assert tuple(CPU.to_dict()) == RATES == tuple(field.name for field in fields(CostModel))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gemm": -1.0}, "finite and >= 0"),
        ({"gemm": float("nan")}, "finite"),
        ({"gemm": "fast"}, "a number"),
        ({"gemm": True}, "a number"),
        ({"speed": 1.0}, "speed"),
    ],
)
def test_odd_rates_are_refused(change, words) -> None:
    with pytest.raises(InputError, match=words):
        CostModel.from_dict(CPU.to_dict() | change)
    with pytest.raises(InputError, match="gemm"):
        CostModel.from_dict({})


def test_shipped_rates_scale_with_dtype_and_threads() -> None:
    for dtype, (arithmetic, entries) in SCALES.items():
        model = shipped_model("numpy", dtype=dtype)
        assert model.gemm == pytest.approx(CPU.gemm * arithmetic)
        assert model.product == pytest.approx(CPU.product * entries)
        assert model.call == CPU.call
    assert shipped_model("numpy", threads=4).gemm < 0.5 * CPU.gemm
    assert shipped_model("numpy", threads=4).copy_entry == CPU.copy_entry
    gpu = shipped_model("cupy")
    assert shipped_model("torch", device="cuda:1") == gpu
    n = 8192  # the data sheets: 60 TFLOP/s in double precision, 50 in single, 4.3 TB/s
    assert 2 * n**3 / gpu.matmul(1, n, n, n) == pytest.approx(6e13, rel=0.1)
    single = shipped_model("cupy", dtype="float32").matmul(1, n, n, n)
    assert 2 * n**3 / single == pytest.approx(5e13, rel=0.1)
    assert 16 * n**2 / gpu.copy(n * n, 64) == pytest.approx(4.3e12, rel=0.1)
    for find in (shipped_model, model_for):
        with pytest.raises(BackendError, match="'jax'"):
            find("jax")


def test_a_stored_profile_is_used(folder) -> None:
    assert model_for(threads=3) == shipped_model("numpy", threads=3)
    stored = profile()
    path = machine.store_profile(stored)
    assert path.parent == folder / "profiles"
    assert model_for(threads=3) == stored.model
    assert model_for(threads=3) is model_for(threads=3)
    assert model_for(threads=2) == shipped_model("numpy", threads=2)
    assert model_for("numpy", dtype="int64", threads=3) == stored.model
    assert model_for("numpy", dtype="float32", threads=3) != stored.model
    assert machine.stored_profile(stored.key) == (stored, f"measured; {path}")
    found = machine.describe_rates(threads=3)
    assert found["measured"]
    assert found["quality"]["steps"] == 400
    assert found["model"]["gemm"] == 1.25e-12
    assert machine.measured_faster_qr(threads=3) is QrLibrary.TORCH
    assert machine.measured_faster_qr(threads=2) is None


def test_another_cache_folder_holds_other_profiles(folder, tmp_path, monkeypatch) -> None:
    machine.store_profile(profile())
    monkeypatch.setenv("TNET_CACHE", str(tmp_path / "other"))
    assert model_for(threads=3) == shipped_model("numpy", threads=3)
    assert not (tmp_path / "other").exists()


def damaged(data: dict, *path: str, value: object) -> dict:
    inner = data
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return data


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: "",
        lambda data: "[" * 100_000,
        lambda data: json.dumps(data)[:-20],
        lambda data: json.dumps([data]),
        lambda data: "x" * (machine.LARGEST + 1),
        lambda data: json.dumps(damaged(data, "format", value=99)),
        lambda data: json.dumps(damaged(data, "model", "gemm", value=-1.0)),
        lambda data: json.dumps(damaged(data, "model", value={})),
        lambda data: json.dumps(damaged(data, "model", value=3)),
        lambda data: json.dumps(damaged(data, "quality", "median", value="good")),
        lambda data: json.dumps(damaged(data, "quality", value=None)),
        lambda data: json.dumps(damaged(data, "tall_qr", "library", value="fastest")),
        lambda data: json.dumps(damaged(data, "tall_qr", value=7)),
        lambda data: json.dumps(damaged(data, "key", "machine", value="another")),
        lambda data: json.dumps(damaged(data, "key", value=[])),
        lambda data: json.dumps(damaged(data, "model", "call", value=10**400)),
        lambda data: json.dumps(damaged(data, "model", "call", value=1e308)),
        lambda data: json.dumps(damaged(data, "quality", "median", value=10**400)),
    ],
)
def test_a_damaged_or_foreign_profile_is_ignored_and_named(folder, spoil) -> None:
    path = machine.store_profile(profile())
    path.write_text(spoil(profile().to_dict()))
    forget_models()
    assert model_for(threads=3) == shipped_model("numpy", threads=3)
    found = machine.describe_rates(threads=3)
    assert not found["measured"]
    assert str(path) in found["source"]
    assert "ignored" in found["source"]


def test_a_profile_of_another_machine_or_version_is_not_found(folder) -> None:
    for change in ({"machine": "another"}, {"version": "0.1"}, {"blas": "none"}, {"threads": 9}):
        machine.store_profile(profile(**change))
    assert model_for(threads=3) == shipped_model("numpy", threads=3)


def test_threads_are_those_of_the_environment(monkeypatch) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert machine.threads_of("numpy") >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert machine.threads_of("numpy") == 5
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "many")
    assert machine.threads_of("numpy") == 5
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert machine.threads_of("numpy") == 2


def test_steps_are_the_same_for_the_same_seed() -> None:
    first, again, other = (
        [next(trials).canonical for _ in range(20)]
        for trials in (draw_trials(CPU, seed=1), draw_trials(CPU, seed=1), draw_trials(CPU, seed=2))
    )
    assert first == again != other


def test_copies_far_apart_and_beyond_the_caches_cost_more() -> None:
    near = CPU.copy(FAR, 1, 64, 65) / FAR
    assert CPU.copy(FAR, 1, 64, 512) / FAR > near
    assert CPU.copy(4 * FAR, 1, 64, 65) / (4 * FAR) > near
    assert CPU.copy(FAR, 8) > CPU.copy(FAR, 64)
