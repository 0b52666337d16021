"""Reuse: derivatives, sweeps, batches and mixed precision from the tree that is already there."""
