"""Sweeps over trees: a centre that moves along edges, with the operator seen from it."""
