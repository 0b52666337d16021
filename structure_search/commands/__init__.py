"""The sub-commands of structure search: search, resume, compare, report."""
