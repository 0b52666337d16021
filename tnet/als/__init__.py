"""Alternating least squares on any graph: cycles, hyperbonds, hubs, missing entries."""
