"""Draw and judge a study, from its runs and its committed rows; without one, all of results/.

python scripts/report.py study=fig1
"""

from bn_repro import door

if __name__ == "__main__":
    door.main("reporting")
