"""A file has its old content or its new content, never a part of it."""

import errno
import os

import pytest

from contraction import atomic
from contraction.errors import InputError


def test_write_and_replace(tmp_path):
    path = tmp_path / "a.bin"
    atomic.write_bytes(path, b"one")
    atomic.write_bytes(str(path), [b"t", bytearray(b"w"), memoryview(b"o")])
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_text_is_utf8_with_its_own_line_ends(tmp_path):
    atomic.write_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == "é\r\n\n".encode()


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt(), ValueError()])
def test_failure_leaves_the_old_file_and_no_debris(tmp_path, error):
    path = tmp_path / "a.bin"
    atomic.write_bytes(path, b"old")

    def write(stream):
        stream.write(b"new, but only a part")
        raise error

    with pytest.raises(type(error)):
        atomic.write_with(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_names_the_file(tmp_path):
    def write(stream):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*a\.bin'"):
        atomic.write_with(tmp_path / "a.bin", write)
    assert not os.listdir(tmp_path)


def test_a_check_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    seen = []

    def check(temporary):
        seen.append(temporary.read_bytes())
        if seen[-1] != b"good":
            raise ValueError

    atomic.write_with(path, lambda stream: stream.write(b"good"), check=check)
    with pytest.raises(ValueError):  # noqa: PT011
        atomic.write_with(path, lambda stream: stream.write(b"bad"), check=check)
    assert seen == [b"good", b"bad"]
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_real_write_error_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    path = tmp_path / "a.bin"
    atomic.write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="large"):
            atomic.write_bytes(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_permissions_are_those_of_a_plain_open_or_of_the_old_file(tmp_path):
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.write_bytes(b"")
    atomic.write_bytes(ours, b"")
    assert ours.stat().st_mode == plain.stat().st_mode
    ours.chmod(0o640)
    atomic.write_bytes(ours, b"new")
    assert ours.stat().st_mode & 0o777 == 0o640


def test_where_no_file_can_go(tmp_path):
    with pytest.raises(InputError, match="folder"):
        atomic.write_bytes(tmp_path, b"")
    with pytest.raises(InputError, match="does not exist"):
        atomic.write_bytes(tmp_path / "missing" / "a", b"")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="symbolic link"):
        atomic.write_bytes(link, b"")
    assert not (tmp_path / "elsewhere").exists()


def test_long_names(tmp_path):
    name = "é" * 100
    atomic.write_bytes(tmp_path / name, b"x")
    assert os.listdir(tmp_path) == [name]
