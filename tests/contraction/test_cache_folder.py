"""Where files are kept between runs: by variable, by platform, and when nothing can be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contraction import cache_folder as module
from contraction.cache_folder import cache_folder, wanted_folder
from contraction.errors import CacheFolderWarning


def test_tests_have_a_folder_of_their_own():
    assert cache_folder() == Path(os.environ["TNET_CACHE"])
    assert Path.home() not in cache_folder().parents


def test_the_variable_wins_and_the_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("TNET_CACHE", str(tmp_path / "a" / "b"))
    assert cache_folder() == tmp_path / "a" / "b"
    assert cache_folder().is_dir()


def test_asking_for_the_name_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TNET_CACHE", str(tmp_path / "a"))
    assert wanted_folder() == tmp_path / "a"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("platform", "variables", "wanted"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x/cache"}, "/x/cache/tnet"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/tnet"),
        ("linux", {}, "/home/me/.cache/tnet"),
        ("darwin", {"XDG_CACHE_HOME": "/x/cache"}, "/home/me/Library/Caches/tnet"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/tnet"),
        ("win32", {}, "/home/me/AppData/Local/tnet"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="the paths are written as POSIX has them")
def test_the_folder_of_each_platform(monkeypatch, platform, variables, wanted):
    for name in ("TNET_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(module.sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wanted_folder() == Path(wanted)


def test_a_folder_that_cannot_be_made_falls_back_and_says_so_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TNET_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(CacheFolderWarning, match=r"file.cache cannot be made.*TNET_CACHE"):
        folder = cache_folder()
    assert folder.is_dir()
    assert cache_folder() == folder  # without a second warning: warnings are errors here


def test_the_temporary_folder_goes_with_the_process(tmp_path):
    (tmp_path / "file").write_text("no folder")
    code = "from contraction.cache_folder import cache_folder; print(cache_folder())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TNET_CACHE": str(tmp_path / "file")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not Path(done.stdout.strip()).exists()
    assert "cannot be made or written to" in done.stderr


def test_no_home_is_no_error(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TNET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(module.Path, "home", staticmethod(no_home))
    with pytest.warns(CacheFolderWarning):
        assert cache_folder().is_dir()
