"""Scores of test videos, what they are worth, and predictions of single files."""
