"""Define the error that everything in `models.weights` raises."""


class WeightsError(ValueError):
    """A weight file is unreadable, or its weights do not fit the network."""
