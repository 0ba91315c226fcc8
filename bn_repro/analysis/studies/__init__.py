"""A module and a template for each study; ``inception`` has what only Inception's studies share."""
