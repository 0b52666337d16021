"""Networks add, multiply and shrink without ever becoming dense: a sum of 2^40 terms."""

import numpy as np

import tnet

# f(x) = sin(sum of 40 bits, each with its own weight): 2^40 entries, rank 2 as a tensor train
weights = np.linspace(0.1, 1.0, 40)
shape = (2,) * 40


def wave(sign: float) -> tnet.Network:
    structure = tnet.tensor_train(shape, 1)
    arrays = {
        node: np.exp(sign * 1j * w * np.arange(2)).reshape(structure.node_shape(node))
        for node, w in zip(structure.node_names, weights, strict=True)
    }
    return tnet.Network(structure, arrays)


sine = -0.5j * tnet.subtract(wave(1.0), wave(-1.0))
total = tnet.add(sine, sine)  # ranks add up ...
small = tnet.truncate(total, tnet.Truncation(tol=1e-12))  # ... and come down again
print("ranks", max(total.ranks.values()), "->", max(small.ranks.values()))

bits = np.random.default_rng(0).integers(0, 2, size=(5, 40))
print("entries", np.round(tnet.evaluate(small, bits).real, 6))
print("exact  ", np.round(2 * np.sin(bits @ weights), 6))
assert np.allclose(tnet.evaluate(small, bits), 2 * np.sin(bits @ weights), atol=1e-5)
print("norm   ", tnet.norm(small))
