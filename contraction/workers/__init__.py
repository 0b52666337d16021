"""Contractions by many workers: tasks, schedulers, and folders that a run can go on from."""
