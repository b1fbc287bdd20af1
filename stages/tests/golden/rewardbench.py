"""Golden numbers of `score`, by the formulas of `rewardbench` 0.1.4 (`rewardbench/utils.py`), which is read as it is.

python -m venv venv && venv/bin/pip install numpy pandas && venv/bin/pip install --no-deps rewardbench==0.1.4
venv/bin/python rewardbench.py > rewardbench.json

What the file imports beside numpy and pandas stands for models and the hub, and is not needed by the formulas.
"""

import importlib.util
import json
import pathlib
import random
import sys
import types


class Stub(types.ModuleType):
    def __getattr__(self, name):
        return type(name, (), {"__init__": lambda self, **_: None})


class Table:
    """What the formulas ask of `datasets.Dataset`."""

    def __init__(self, frame):
        self.frame = frame

    from_pandas = classmethod(lambda kind, frame: kind(frame))
    from_dict = classmethod(lambda kind, columns: kind(columns))

    def to_pandas(self):
        return self.frame


NEEDLESS = "torch datasets fastchat fastchat.conversation huggingface_hub transformers rewardbench rewardbench.models"
for name in NEEDLESS.split():
    sys.modules[name] = Stub(name)
sys.modules["datasets"].Dataset = Table

import numpy as np
import pandas as pd

files = [pathlib.Path(folder) / "rewardbench" / "utils.py" for folder in sys.path]
spec = importlib.util.spec_from_file_location("utils", next(file for file in files if file.exists()))
utils = importlib.util.module_from_spec(spec)
spec.loader.exec_module(utils)

draw = random.Random(7)
score = lambda: draw.choice([draw.randint(-3, 3), round(draw.gauss(0, 2), 3)])

# Best of four: the first answer is the good one. Small whole numbers make ties.
best_of_4 = []
for number in range(60):
    scores = [score() + draw.choice([0, 0, 2])] + [score() for _ in range(3)]
    best_of_4.append({"id": str(number), "subset": ["Math", "Focus", "Safety"][number % 3], "scores": scores})
flat = [{"text": "", "scores": one, "id": row["id"], "subset": row["subset"]} for row in best_of_4 for one in row["scores"]]
counted = utils.reroll_and_score_dataset(Table(pd.DataFrame(flat)), [4] * len(best_of_4)).to_pandas()
for row, result in zip(best_of_4, counted["results"]):
    row["result"] = float(result)
subsets = {name: float(np.mean(rows["results"])) for name, rows in counted.groupby("subset")}

# Ties: for each prompt one with one good answer, and one with several that are all right.
ties = []
for number in range(24):
    lift = draw.choice([0, 3, 6, 12])
    bad = lambda: [score() for _ in range(draw.randint(2, 5))]
    good = [lift + score() for _ in range(draw.randint(2, 5))]
    if number % 8 == 0:
        good = [lift] * 3
    if number != 5:
        ties.append({"id": f"ref:{number}", "scores": [lift + score()] + bad(), "num_correct": 1})
    if number != 6:
        ties.append({"id": f"tied:{number}", "scores": good + bad(), "num_correct": len(good)})
_, ties_score = utils.process_single_model(ties)

json.dump(
    {"best_of_4": best_of_4, "subsets": subsets, "ties": ties, "ties_score": float(ties_score)}, sys.stdout, indent=None
)
print()
