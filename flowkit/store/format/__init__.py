"""What the bytes of a store are: files, schemas, checksums, locks. README.md above describes it."""
