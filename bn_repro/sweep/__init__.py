"""Many runs: a study's blocks expanded, scheduled, shown. Only the children import torch."""
