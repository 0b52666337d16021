"""The compiled greedy search makes the trees of the plain one; no search ever compiles."""

import importlib.util
import json
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed"
)

# both kinds of trials on problems of every kind; prints how many they were, and what differed
COMPARED = """
    import json, math, random, sys
    import numpy as np
    sys.path.insert(0, sys.argv[1])
    from contraction.search import compiled, greedy_numba
    from contraction.search.greedy_compiled import CompiledTrials
    from contraction.search.greedy_network import Scores, Trial, network_of
    from contraction.search.greedy_plain import PlainTrials
    from test_greedy_search import lattice, tangle

    problems = [lattice(5, 5, 3), tangle(3, 0), tangle(40, 1, degree=4)]
    problems += [tangle(30, seed, hyper=3 + seed % 6, bond=2 + seed) for seed in range(12)]
    problems += [tangle(25, 3, degree=2, hyper=6), tangle(12, 0, bond=2**400)]
    loaded = compiled.load("contraction.search.greedy_numba")
    kernels = greedy_numba if sys.argv[2] == "python" else loaded
    trials = completed = 0
    differed = []
    for problem in problems:
        network = network_of(problem)
        scores = Scores(network, np.random.default_rng(0))
        plain = PlainTrials(network, scores)
        other = CompiledTrials(kernels, network, scores)
        rng, limit = random.Random(1), math.inf
        for k in range(8):
            drawn = (rng.uniform(0.1, 4.0), 10.0 ** rng.uniform(-3.0, 0.0), rng.randrange(1 << 16))
            trial = Trial(*drawn) if k else Trial(1.0, 0.0, 0)
            want, got = plain.run(trial, limit), other.run(trial, limit)
            trials += 1
            if want != got:
                differed.append((trial, want, got))
            if want is not None:
                completed += 1
                if k % 2:
                    limit = want[0]
    print(json.dumps([trials, completed, differed]))
"""

SEARCHED = """
    import json, sys
    from contraction.search import compiled
    assert not compiled.ready()
    sys.path.insert(0, sys.argv[1])
    from test_greedy_search import lattice
    from contraction.search.greedy import random_greedy
    from numba.core.event import install_recorder

    def search():
        with install_recorder("numba:compile") as recorder:
            found = random_greedy(lattice(12, 12, 2), seed=3, trials=150)
        return found, len(recorder.buffer), compiled._load.cache_info().hits

    cold = search()
    assert compiled.compile_kernels() > 0.1 and compiled.ready()
    again = compiled.compile_kernels()
    assert again < 0.1
    assert compiled.load("contraction.search.greedy_numba") is not None
    warm = search()
    print(json.dumps([cold[1:], warm[1:], cold[0] == warm[0]]))
"""


def run(code: str, kind: str, cache, **environment: str) -> list:
    tests = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tests, kind],
        capture_output=True, text=True, check=True,
        env={"TNET_CACHE": str(cache), "PYTHONPATH": ":".join(sys.path), **environment},
    )  # fmt: skip
    return json.loads(done.stdout)


def test_kernels_make_the_trees_of_plain_python(tmp_path) -> None:
    # numba's own switch runs the same source without compiling it
    trials, completed, differed = run(COMPARED, "python", tmp_path, NUMBA_DISABLE_JIT="1")
    assert trials == 136
    assert completed > 40
    assert differed == []


@pytest.mark.slow
def test_compiled_kernels_make_the_trees_of_plain_python(tmp_path) -> None:
    cold, warm, same = run(SEARCHED, "", tmp_path)
    assert cold == [0, 0]  # nothing is compiled, no kernels are loaded
    assert warm[0] == 0  # nothing is compiled
    assert warm[1] > 0  # and the kernels are asked for
    assert same
    assert run(COMPARED, "compiled", tmp_path)[2] == []
