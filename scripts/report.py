"""Write a study's figures, tables and verdicts; without study=, those of all studies in results/.

python scripts/report.py study=fig1
"""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("report")
