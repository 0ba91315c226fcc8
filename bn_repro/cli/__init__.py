"""The commands: one module each, and errors in one line."""

COMPLETED, FAILED, BAD_INPUT, PREEMPTED = 0, 1, 2, 75
"""Exit codes; 75: stopped before its end."""

COMMANDS = {
    "train": "train a run, a sweep (-m), or a study",
    "study": "train a study by its name: bn-repro study fig1 seeds=2",
    "status": "show the progress of the runs of a study, or of all runs",
    "report": "write the figures, tables and verdicts of a study, or of your runs",
    "evaluate": "evaluate finished runs: by one crop or 144, one by one or as an ensemble",
    "diff": "show what differs between two runs, or between two folders of seeds",
    "list": "list the experiments and studies, with costs and verdicts",
    "export": "write a trained network to a file, with a model card",
    "publish": "send finished runs to Weights & Biases, or write them for TensorBoard",
    "dashboard": "save a report on the runs in Weights & Biases",
}
"""Each is the module of this name, with a line on what it does."""
PLAIN = ("diff", "list")
"""Those that compose no configuration, and take no ``key=value``."""
