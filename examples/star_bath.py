"""A spin in a bath of oscillators: coherence lost and found again, beside the closed formula."""

import numpy as np

import tnet
from integrators import AugmentedBUG, evolve
from integrators.models import spin_boson

frequencies = np.linspace(0.5, 2.0, 6)
couplings = np.full(6, 0.08)
model = spin_boson(frequencies, couplings, splitting=0.5, cutoff=5)
tree = tnet.balanced_tree(model.sites)
vacuum = np.eye(6)[0]
start = {site: [1, 1] / np.sqrt(2) if site == "spin" else vacuum for site in model.sites}

flow = evolve(
    -1j * tnet.operator(tree, model),
    tnet.product_state(tree, start),
    t1=4.0,
    dt=0.1,
    stepper=AugmentedBUG(truncation=tnet.Truncation(tol=1e-7, max_rank=16)),
    measure={"x": lambda state: tnet.expectation(state, (1.0, {"spin": "x"})).real},
    every=8,
)
for t, x in zip(flow.times, flow.values["x"], strict=True):
    lost = np.sum(4 * couplings**2 / frequencies**2 * (1 - np.cos(frequencies * t)))
    exact = np.cos(0.5 * t) * np.exp(-lost)
    print(f"t = {t:.1f}   <X> = {x:+.6f}   exact {exact:+.6f}   off by {abs(x - exact):.1e}")
