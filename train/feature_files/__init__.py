"""Compute the features of whole videos, one file of rows for each video in a folder."""
