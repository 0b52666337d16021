"""Steppers: one step of time, before truncation."""
