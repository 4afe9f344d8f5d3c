"""``python -m flowkit``."""

from flowkit_video import main

main()
