"""Run folders: phases, journals, and the checks that a run must pass to be resumed."""
