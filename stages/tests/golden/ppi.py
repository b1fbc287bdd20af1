"""Values of ppi-python 0.2.3 (https://pypi.org/project/ppi-python/), by which stages/src/judge/calibrated.rs is held.

    pip install ppi-python==0.2.3
    python stages/tests/golden/ppi.py > stages/tests/golden/ppi.json
"""

import json

import numpy as np
from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

cases = []
for seed, (n, more, right) in enumerate([(50, 200, 0.9), (50, 400, 0.55), (100, 150, 0.75), (200, 60, 0.8), (20, 1000, 0.3)]):
    draw = np.random.default_rng(seed)
    truth = draw.choice([0.0, 0.5, 1.0], size=n + more, p=[0.35, 0.15, 0.5])
    judge = np.where(draw.random(n + more) < right, truth, draw.choice([0.0, 0.5, 1.0], size=n + more))
    people, judged, others = truth[:n], judge[:n], judge[n:]
    low, high = ppi_mean_ci(people, judged, others, alpha=0.05)
    cases.append({
        "people": people.tolist(),
        "judged": judged.tolist(),
        "others": others.tolist(),
        "mean": float(np.squeeze(ppi_mean_pointestimate(people, judged, others))),
        "low": float(np.squeeze(low)),
        "high": float(np.squeeze(high)),
    })
print(json.dumps({"made_by": "ppi-python 0.2.3", "cases": cases}))
