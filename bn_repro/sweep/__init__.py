"""Many runs: a study's blocks expanded, scheduled, displayed.

Their children train; where there is something to train, the parent imports torch too, to check.
"""
