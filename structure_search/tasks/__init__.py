"""Tasks: what a network is fitted to."""
