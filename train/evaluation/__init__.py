"""Score test videos, compute metrics of the scores, and classify single files."""
