"""The file format of a store: schemas, shard files, commit records, checksums and locks.

README.md in the parent folder describes it.
"""
