"""Draw and judge a study, from its runs and its committed rows; without one, all of results/.

python scripts/report.py study=fig1
"""

from bn_repro.cli.main import main

if __name__ == "__main__":
    main("report")
