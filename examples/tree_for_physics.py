"""Find a tree for a ground state, from a chain whose sites stand in the wrong order.

Three ways: sweeps and reconnections in turns, the couplings of the Hamiltonian alone, and a
search over all trees for the state itself as data.
"""

import numpy as np

import tnet
from integrators import ground_state, ground_tree
from integrators.models import hierarchical
from structure_search import RelativeError, TreeSearch, search

model = hierarchical(4)  # 16 spins 1/2 whose bonds weaken from level to level
rng = np.random.default_rng(0)
order = [list(model.sites)[k] for k in rng.permutation(len(model.sites))]
sites = {name: model.sites[name] for name in order}


def show(what, energy, state):
    print(f"{what:34s} energy {energy:.6f}   parameters {state.num_params}")


def lowest(tree, rank):
    start = tnet.random_network(tree.resized(dict.fromkeys(tree.bonds, 2)), rng=rng)
    return ground_state(tnet.operator(tree, model), start, max_rank=rank)


fixed = lowest(tnet.tensor_train(sites), 8)
show("shuffled chain", fixed.energy, fixed.state)

chain = tnet.random_network(tnet.tensor_train(sites, 8), rng=rng)
found = ground_tree(model, chain, max_rank=8)
show(f"reconnected in {len(found.energies)} rounds", found.ground.energy, found.ground.state)

coupled = lowest(tnet.tree_from_affinity(tnet.coupling_strengths(sites, model), sites), 8)
show("tree from the couplings", coupled.energy, coupled.state)

for what, state in [("reconnected", found.ground.state), ("couplings", coupled.state)]:
    kept = tnet.truncate(state, tnet.Truncation(tol=1e-3))
    print(f"to an error of 1e-3, {what:12s}            parameters {kept.num_params}")
data = np.asarray(tnet.contract(found.ground.state, order))
best = search(data, method=TreeSearch(), objective=RelativeError(tol=1e-3), rng=rng).best
print(f"the same, search over all trees               parameters {best.num_params}")
