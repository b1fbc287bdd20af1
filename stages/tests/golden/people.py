"""Values that `stages/src/people` is held to, from the libraries that people use. Writes people-golden.json beside itself.

pip install krippendorff==0.9.0 statsmodels==0.15.0 choix==0.4.1 crowd-kit==1.4.2 scipy
"""
import json
from pathlib import Path

import choix
import krippendorff
import numpy as np
import pandas as pd
from crowdkit.aggregation import OneCoinDawidSkene
from scipy import stats
from scipy.stats import friedmanchisquare
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

random = np.random.default_rng(7)


def alpha_cases():
    """Ratings of people (rows) with gaps (null), by each level of measurement."""
    cases = []
    for people, items, values, gap in [(2, 30, 3, 0.0), (4, 50, 5, 0.3), (3, 40, 2, 0.1), (5, 25, 7, 0.5)]:
        truth = random.integers(0, values, items)
        noisy = lambda: np.where(random.random(items) < 0.6, truth, random.integers(0, values, items)).astype(float)
        data = np.array([noisy() for _ in range(people)])
        data[random.random(data.shape) < gap] = np.nan
        row = {"data": [[None if np.isnan(x) else x for x in row] for row in data], "values": values}
        for level in ["nominal", "ordinal", "interval"]:
            row[level] = krippendorff.alpha(reliability_data=data, level_of_measurement=level, value_domain=list(range(values)))
        cases.append(row)
    return cases


def kendall_tables():
    cases = []
    for people, things, ties in [(3, 6, False), (5, 4, True), (2, 5, True)]:
        ranks = [list(map(float, random.integers(1, 4, things) if ties else random.permutation(things) + 1)) for _ in range(people)]
        chi2 = friedmanchisquare(*np.array(ranks).T).statistic
        cases.append({"ranks": ranks, "w": chi2 / (people * (things - 1))})
    return cases


def logs(fit, things, data):
    """Log strengths without and with the prior: one win and one loss of each against a thing of strength 1."""
    exact = {"max_iter": 10000, "tol": 1e-13}
    against = [(i, things) for i in range(things)] + [(things, i) for i in range(things)]
    prior = fit(things + 1, data + against, **exact)
    return {"logs": list(fit(things, data, **exact)), "with_prior": list(prior[:-1] - prior[-1])}


def bradley_terry():
    cases = []
    for things, games in [(4, 60), (6, 200)]:
        strength = random.normal(size=things)
        data = []
        while len(data) < games:
            i, j = random.choice(things, 2, replace=False)
            data.append((int(i), int(j)) if random.random() < 1 / (1 + np.exp(strength[j] - strength[i])) else (int(j), int(i)))
        cases.append({"things": things, "wins": data, **logs(choix.ilsr_pairwise, things, data)})
    return cases


def plackett_luce():
    cases = []
    for things, count in [(4, 40), (5, 30)]:
        strength = random.normal(size=things)
        rankings = [list(map(int, np.argsort(-(strength + random.gumbel(size=things))))) for _ in range(count)]
        cases.append({"things": things, "rankings": rankings, **logs(choix.ilsr_rankings, things, rankings)})
    return cases


def one_coin():
    cases = []
    for people, items, values in [(4, 40, 3), (6, 60, 2)]:
        truth, skill = random.integers(0, values, items), random.uniform(0.55, 0.95, people)
        votes = []
        for item in range(items):
            for person in random.choice(people, 3, replace=False):
                right = random.random() < skill[person]
                votes.append((item, int(person), int(truth[item] if right else random.choice([v for v in range(values) if v != truth[item]]))))
        frame = pd.DataFrame(votes, columns=["task", "worker", "label"])
        model = OneCoinDawidSkene(n_iter=400, tol=-1)  # to its fixed point: it would stop at rounding
        chances = model.fit_predict_proba(frame).sort_index(axis=0).sort_index(axis=1)
        cases.append({"values": values, "votes": votes, "chances": chances.values.tolist(),
                      "skills": list(map(float, model.skills_.sort_index().values))})
    return cases


def fleiss():
    data = random.integers(0, 3, (20, 4))
    table, _ = aggregate_raters(data)
    return {"table": table.tolist(), "kappa": fleiss_kappa(table)}


def clopper_pearson():
    return [{"times": k, "all": n, "interval": list(proportion_confint(k, n, alpha=0.05, method="beta"))} for k, n in [(0, 7), (3, 10), (60, 100), (19, 20), (5, 5), (712, 1500)]]


def samples():
    """The number of judgements after which a share is shown to be above a bound, and the power: exact binomial, one-sided
    5 %."""
    def power(n, bound, truth):
        wins = int(stats.binom.isf(0.05, n, bound)) + 1
        return stats.binom.sf(wins - 1, n, truth)

    def needed(bound, truth):
        """From there on the power never falls below 80 %: it rises in a sawtooth."""
        return 1 + max(n for n in range(1, 1000) if power(n, bound, truth) < 0.8)

    return [{"bound": b, "truth": t, "needed": needed(b, t)} for b, t in [(0.5, 0.65), (0.5, 0.6), (0.5, 0.7), (0.6, 0.75), (0.6, 0.7), (0.6, 0.8), (0.7, 0.8)]]


golden = {"alpha": alpha_cases(), "kendall": kendall_tables(), "bradley_terry": bradley_terry(), "plackett_luce": plackett_luce(),
          "one_coin": one_coin(), "fleiss": fleiss(), "clopper_pearson": clopper_pearson(), "samples": samples()}
text = json.dumps(golden, indent=1, default=float)
Path(__file__).with_name("people-golden.json").write_text(text + "\n")
