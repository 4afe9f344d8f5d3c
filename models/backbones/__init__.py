"""Networks that turn images into features, one family a file."""
