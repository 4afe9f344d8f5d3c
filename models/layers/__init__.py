"""Small functions that several networks use: padding, averaging of segments, partial BN."""
