"""What people see of a search: the screen, the report, comparisons and their figures."""
