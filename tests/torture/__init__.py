"""Trials of flowkit under fire: damage, kills, full disks, signals, clocks, several processes.

``python -m tests.torture --minutes 10 --seed 1`` runs all kinds of trials and prints a table;
``test_torture.py`` runs a few of each kind. A trial is a function of shared data (small videos and
stores) and of a random generator that is seeded by (seed, kind, number), so that
``--trial KIND:NUMBER`` repeats it.
"""
