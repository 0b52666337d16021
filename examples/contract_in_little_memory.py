"""A 5 x 5 lattice contracted within a fifth of the memory that it would like, by two threads.

The plan is searched together with the labels to slice, explained, run, and its derivative by one
tensor is compared with a difference.
"""

import numpy as np

import contraction
import tnet


def main() -> None:
    rng = np.random.default_rng(0)
    net = tnet.random_network(tnet.grid((1,) * 25, 6), rng=rng)
    spec, arrays = net.structure.spec(output=()), list(net.arrays.values())

    free = contraction.plan(spec)
    tight = contraction.plan(spec, memory=free.peak_size * 8 // 5, seed=0)
    print(f"free:  {free.peak_size * 8:>9,} bytes, {free.flops:,} flops")
    print(
        f"tight: {tight.peak_size * 8:>9,} bytes, {tight.flops:,} flops, {tight.num_slices} slices"
    )

    value = contraction.contract_with(tight, arrays, scheduler=contraction.Threads(workers=2))
    assert np.isclose(float(value), float(free.run(arrays)))

    slope = contraction.environments(free, arrays, leaves=[12])[0]
    step = rng.standard_normal(arrays[12].shape)
    changed = [*arrays]
    changed[12] = arrays[12] + step
    difference = float(free.run(changed)) - float(value)  # exact: the value is linear in each
    print(f"derivative along a step {float(np.sum(slope * step)):.6g}, difference {difference:.6g}")
    assert np.isclose(float(np.sum(slope * step)), difference)


if __name__ == "__main__":
    main()
