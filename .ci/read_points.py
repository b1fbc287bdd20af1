"""Holds what `export-tensorboard` wrote to what `curves --csv` says, by TensorBoard's own reader: every finite number of
every stage, in equal number and order. Called with the program, the folder and the pipeline file."""

import csv
import os
import subprocess
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

program, folder, file = sys.argv[1:]
points = 0
for stage in sorted(os.listdir(folder)):
    events = EventAccumulator(os.path.join(folder, stage), size_guidance={"scalars": 0}).Reload()
    printed = subprocess.run([program, "curves", stage, file, "--csv"], capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(printed.stdout.splitlines()))
    for tag in events.Tags()["scalars"]:
        name = tag.split("/")[-1]
        wanted = [float(row[name]) for row in rows if row.get(name) not in (None, "", "NaN")]
        read = [scalar.value for scalar in events.Scalars(tag)]
        assert len(wanted) == len(read), (stage, tag, len(wanted), len(read))
        # TensorBoard holds them with 32 bits.
        assert all(abs(a - b) <= 1e-6 * max(1.0, abs(a)) for a, b in zip(wanted, read)), (stage, tag)
        points += len(read)
assert points > 0
print(f"{points} points are those of the curves")
