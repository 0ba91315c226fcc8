"""Input that cannot be used, and files of a run that cannot be read."""

START_OVER = "start over with force=true"
"""What to do about records that cannot be read."""


class BadInput(ValueError):
    """Input that cannot be used, in one line; a notebook shows that line and no traceback."""

    def _render_traceback_(self) -> list[str]:  # what IPython asks an exception for
        return [f"error: {self}"]


class Unreadable(BadInput):
    """A file of a run that cannot be read: one line with its path and what to do."""
