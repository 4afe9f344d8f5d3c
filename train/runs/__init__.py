"""Run folders: phases, journals, and what a run must agree with to go on."""
