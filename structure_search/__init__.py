"""structure_search."""
