"""Export of stores to what other tools read, and import of what they wrote."""
