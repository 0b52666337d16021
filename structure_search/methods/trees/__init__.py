"""The best tree for the data: sets of modes, their spectra, programmes over them, and fits."""
