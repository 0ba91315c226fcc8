"""From run directories to frames, intervals, claims and figures. Reads files only; no torch."""
