"""One module and one template a study; what only Inception's studies share is in ``inception``."""
