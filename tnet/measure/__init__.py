"""What a state says: expectation values, correlations, entropies, samples."""
