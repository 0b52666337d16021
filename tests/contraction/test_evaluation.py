"""Evaluations: the same numbers as a run from nothing, and no more steps than needed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contraction import Evaluation, environments, plan
from contractions import random_arrays, specs
from strategies import NAMESPACES, seeds


@given(specs(), seeds, st.sampled_from(NAMESPACES), st.data())
def test_changes_give_what_a_fresh_run_gives(spec, seed, namespace, data) -> None:
    arrays, cotangent = random_arrays(spec, seed, "float64", namespace)
    p = plan(spec)
    versions = [(Evaluation.start(p, arrays, cotangent), arrays)]
    leaf = st.integers(0, len(arrays) - 1)
    for step in range(data.draw(st.integers(1, 6))):
        now, xs = versions[data.draw(st.integers(0, len(versions) - 1))]
        match data.draw(st.sampled_from(["replace", "result", "environment"])):
            case "replace":
                fresh, _ = random_arrays(spec, seed + step + 1, "float64", namespace)
                some = data.draw(st.lists(leaf, max_size=2))
                xs = [fresh[i] if i in some else x for i, x in enumerate(xs)]
                versions.append((now.replace({i: fresh[i] for i in some}), xs))
            case "result":
                want = np.asarray(p.run(xs))
                np.testing.assert_allclose(np.asarray(now.result), want, rtol=1e-9, atol=1e-9)
            case "environment":
                i = data.draw(leaf)
                (want,) = environments(p, xs, cotangent=cotangent, leaves=[i])
                made = np.asarray(now.environment(i))
                np.testing.assert_allclose(made, np.asarray(want), rtol=1e-9, atol=1e-9)
    for now, xs in versions:
        for i, want in enumerate(environments(p, xs, cotangent=cotangent)):
            made = np.asarray(now.environment(i))
            np.testing.assert_allclose(made, np.asarray(want), rtol=1e-9, atol=1e-9)
