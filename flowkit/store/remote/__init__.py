"""Read stores on object storage (S3, Google Cloud, Azure, Hugging Face, HTTPS), and copy stores.

    Store ─ shards ─ ShardReader ─ read_exactly ─┬─ pread of a local file
                                                 └─ RemoteFile (files.py): pages of 16 KiB from
                                                    memory ─ disk (page_cache.py) ─ client.py

The small files of a remote store are kept in a local folder, its mirror (mirror.py). Shards never
change, so what was read of them stays valid; files.py notices an object that changed all the same.
"""
