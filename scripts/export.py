"""Write the trained network of a finished run to a file (safetensors), with a model card beside it.

python scripts/export.py experiment=mnist/bn seed=0
python scripts/export.py experiment=mnist/bn seed=0 out=bn.safetensors
"""

from bn_repro.cli.main import main

if __name__ == "__main__":
    main("export")
