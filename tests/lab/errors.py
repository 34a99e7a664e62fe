class LabError(Exception):
    """The lab cannot do what was asked; the message says what failed and what to do."""
