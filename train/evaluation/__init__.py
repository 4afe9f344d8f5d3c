"""Score test videos, measure the scores, and predict the classes of single files."""
