"""Weight files of this project and of other publishers, and TSN's optimizer groups."""
