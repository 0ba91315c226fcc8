"""``python -m bn_repro``: as ``bn-repro``."""

from bn_repro.cli.command import main

if __name__ == "__main__":
    main()
