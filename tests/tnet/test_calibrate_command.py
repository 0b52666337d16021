"""`tnet calibrate`: measures, stores, and says what it found."""

import json

import pytest

from contraction.cost import forget_models, model_for
from contraction.search import compiled
from tnet.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled, "compile_kernels", lambda: 0.25)  # takes half a minute
    yield tmp_path
    forget_models()


def test_json(folder, capsys) -> None:
    words = ["--budget", "1s", "--dtype", "float32", "--threads", "1", "--json", "--no-progress"]
    assert main(["calibrate", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    profile = found["profile"]
    assert profile["measured"]
    assert profile["key"]["dtype"] == "float32"
    assert profile["key"]["threads"] == 1
    assert profile["model"] == model_for(dtype="float32", threads=1).to_dict()
    assert set(found["shipped"]) == set(profile["model"])
    assert found["compiled_seconds"] in (0.25, None)
    assert len(list((folder / "profiles").iterdir())) == 1


def test_table(folder, capsys) -> None:
    assert main(["calibrate", "--budget", "1s", "--threads", "1", "--no-progress"]) == 0
    out = capsys.readouterr().out
    assert "gemm" in out
    assert "held out" in out
    assert str(folder) in out


@pytest.mark.parametrize("words", [["--library", "jax"], ["--budget", "0"], ["--dtype", "int8"]])
def test_what_is_refused(folder, capsys, words) -> None:
    assert main(["calibrate", *words, "--no-progress"]) == 2
    assert not (folder / "profiles").exists()
    capsys.readouterr()


def test_a_missing_device(folder, capsys) -> None:
    assert main(["calibrate", "--device", "cuda", "--no-progress"]) == 8
    assert "cuda" in capsys.readouterr().err
