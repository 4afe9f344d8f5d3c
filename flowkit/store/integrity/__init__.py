"""How damage is found, and what is saved from it: verify, salvage, recovery, repair."""
