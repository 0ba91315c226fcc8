"""How often each "95 %" interval covers the truth, simulated, into results/coverage; a few minutes.

python scripts/coverage.py
"""

from bn_repro.analysis import coverage
from bn_repro.records.paths import RESULTS

if __name__ == "__main__":
    print(*coverage.write(RESULTS / "coverage"), sep="\n")
