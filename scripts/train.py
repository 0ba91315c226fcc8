"""Train one run, a sweep (-m), or a study.

python scripts/train.py experiment=mnist/bn seed=0
python scripts/train.py experiment=mnist/bn optimizer.lr=0.5 model.init_std=0.05
python scripts/train.py -m 'experiment=glob(mnist/*)' 'optimizer.lr=choice(0.1,1.0)' seed=0,1,2
python scripts/train.py study=fig1
python scripts/train.py study=fig3 scale=smoke
python scripts/train.py study=fig3 study.run=0 data.root=FOLDER     only its first run
"""

from bn_repro.cli.start import start

if __name__ == "__main__":
    start("train", trains=True)
