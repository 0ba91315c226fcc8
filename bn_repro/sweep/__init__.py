"""Many runs: a study's blocks expanded, scheduled, displayed. Only the children import torch."""
