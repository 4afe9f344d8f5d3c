"""Find damage in a store, and save what is intact: verify, repair, recovery and salvage."""
