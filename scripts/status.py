"""Follow the runs of a study, or all under the runs directory: a line to each, with a bar.

python scripts/status.py study=fig1
"""

from bn_repro.cli.main import main

if __name__ == "__main__":
    main("status")
