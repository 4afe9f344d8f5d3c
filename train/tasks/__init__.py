"""What networks of images, of sound and of feature sets do each in their own way."""
