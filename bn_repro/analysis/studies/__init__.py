"""One module per study: its figures, its claims and its findings, together (see ``report.py``)."""
