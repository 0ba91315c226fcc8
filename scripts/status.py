"""Show the progress of the runs of a study, or of all in the runs folder, one line and bar a run.

python scripts/status.py study=fig1
"""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("status")
