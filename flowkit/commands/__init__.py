"""Define the commands of flowkit, one module each, and what they share."""
