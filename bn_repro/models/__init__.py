"""The networks of the paper: the sigmoid net of section 4.1 and the Inception of Figure 5."""
