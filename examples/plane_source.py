"""Radiation from a plane source with uncertain scattering: mean and variance in one run.

Run with --full for the published size (201 cells, 100 moments, 100 x 100 nodes, T = 2), where
mean(0) = 0.7484, mean(1) = 0.1330, mean(1.5) = 0.0282 and the largest variance is 0.02676; the
10,000 pairs of nodes one by one take hours. The tolerance is per unit of time.
"""

import sys

import numpy as np

import tnet
from integrators import AugmentedBUG, RungeKutta4, evolve
from integrators.models import density_spread, plane_source

full = "--full" in sys.argv[1:]
problem = plane_source() if full else plane_source(cells=81, moments=20, nodes=12, source_width=0.1)
flow = evolve(
    tnet.operator(problem.tree, problem.model),
    tnet.product_state(problem.tree, problem.start),
    t1=2.0 if full else 0.5,
    dt=0.1 * problem.cell,
    stepper=AugmentedBUG(truncation=tnet.Truncation(tol=1e-2, max_rank=50), local=RungeKutta4()),
    every=200,
)
found = density_spread(problem, flow.state)
middle = len(problem.grid) // 2
widest = problem.grid[np.argmax(found.variance)]
print(f"ranks {dict(flow.ranks[-1])} after {flow.counts.steps} steps")
print(f"mass {found.mean.sum() * problem.cell:.6f}   mean in the middle {found.mean[middle]:.4f}")
print(f"largest variance {found.variance.max():.5f} at x = {widest:.2f}")
