"""Readers of the input formats; each module reads one family of files."""
