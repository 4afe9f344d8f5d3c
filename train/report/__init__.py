"""Draw the figures and tables of an evaluated run, and write its report."""
