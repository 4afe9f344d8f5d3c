"""Weight files of other publishers, and how they and ours are loaded."""
