"""The report of an evaluated run, and its figures."""
