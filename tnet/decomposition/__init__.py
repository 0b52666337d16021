"""From a dense tensor to a network: sweeps over any tree, in memory or in chunks."""
