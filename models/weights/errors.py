"""Define the error that everything in `models.weights` raises."""


class WeightsError(ValueError):
    """A weight file is unreadable, or its weights do not fit the network.

    Args:
        reason: What happened, and what was expected.
        advice: What a caller of the function in Python can do; empty if ``reason`` says it.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}. {advice}" if advice else reason)
        self.reason = reason
