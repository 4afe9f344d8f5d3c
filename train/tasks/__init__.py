"""Tasks: how networks of images, audio and feature sets are built, fed and scored."""
