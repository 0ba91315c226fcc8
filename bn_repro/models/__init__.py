"""The networks: section 4.1's sigmoid net, Figure 5's Inception, a recurrent one for section 5."""
