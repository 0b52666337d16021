"""Test set-up: hypothesis profile, a cache folder of its own, what to collect without torch."""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent / "tests"))  # tests import `strategies` by name
hypothesis.settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=50, database=None
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# set at import, so that test modules and the processes they start see it; never the user's own
_cache = tempfile.TemporaryDirectory(prefix="tnet-tests-")
os.environ["TNET_CACHE"] = _cache.name

collect_ignore_glob = []
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob += ["tnet/nn/*", "tests/tnet/nn/*", "integrators/training.py"]
    collect_ignore_glob += ["contraction/torch_lapack.py"]
if importlib.util.find_spec("numba") is None:
    collect_ignore_glob += ["contraction/search/*_numba.py", "contraction/search/*_compiled.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a CUDA device where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from contraction.arrays import gpu_available

    if not (gpu_available("torch") or gpu_available("cupy")):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _remove_cache_folder() -> Iterator[None]:
    """Remove the cache folder of this session when it ends."""
    yield
    _cache.cleanup()
