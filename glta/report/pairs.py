"""Compare two methods or ablations on every dataset, in any metric that users have."""

from __future__ import annotations

from typing import Any

import numpy as np

from glta.evaluation.significance import compare_paired, holm
from glta.params.model import Params
from glta.report.analysis import RESAMPLING_SEED, Analysis, family
from glta.report.cells import load_cells
from glta.report.wording import NOT_TESTED, number, p_text, signed
from glta.storage.cell import folder


def compare_pair(params: Params, one: str, other: str, metric: str) -> list[dict[str, Any]]:
    """Subtract two methods' values of each user, averaged over the seeds that both methods have.

    metric: such as ndcg@20 or among_new/ndcg@20. Returns for each dataset: dataset, users, seeds
    (those that both have), left_out (seeds that one of the two has), one, other (means over the
    seeds of both), difference, low, high (bootstrap interval of report.confidence), p (sign flips,
    corrected by Holm over the datasets) and effect (d_z, with its interval). p is None where one of
    the two is in report.not_tuned. Raises ValueError when no dataset has both, with two users at
    least, and when the two were evaluated on different splits.
    """
    cells = load_cells(folder("evaluate"), params, methods={one, other})
    found = {}
    for name in params.datasets:
        a = Analysis(name, params.for_dataset(name), cells.get(name, {}))
        if {one, other} <= a.cells.keys():
            frame = a.differences(one, other, [metric])
            if frame.height > 1:
                found[name] = (a, frame)
    if not found:
        raise ValueError(
            f"no dataset has {metric} of {one} and of {other} for two users or more; name both in "
            "`methods` of params.yaml and run `snakemake --cores all`, or name another metric of "
            "data/evaluate/DATASET/SEED/METHOD/users.parquet"
        )
    tested = [name for name, (a, _) in found.items() if not {one, other} & a.not_tuned.keys()]
    alone = [family({name: [found[name][1]]}, flips=params.report.flips)[name].p for name in tested]
    corrected = dict(zip(tested, holm(np.array(alone)).tolist(), strict=True))
    rows = []
    for name, (a, frame) in found.items():
        (values,) = compare_paired(
            [frame.drop("user").to_numpy()],
            confidence=params.report.confidence,
            resamples=params.report.resamples,
            seed=RESAMPLING_SEED,
        )
        shared = a.shared_seeds(one, other, [metric])
        means = {
            "one": a.mean(one, metric, seeds=shared),
            "other": a.mean(other, metric, seeds=shared),
        }
        left_out = [seed for seed in a.splits if seed not in shared]
        over = {"dataset": name, "users": frame.height, "seeds": shared, "left_out": left_out}
        rows.append(over | means | values._asdict() | {"p": corrected.get(name)})
    return rows


def pair_text(rows: list[dict[str, Any]], one: str, other: str, metric: str) -> str:
    """Write what `compare_pair` returned, one line for each dataset."""
    lines = [f"{one} minus {other}, {metric} on test:"]
    for row in rows:
        left_out = ", ".join(map(str, row["left_out"]))
        without = f" (not seed {left_out}, which one of them lacks)" if left_out else ""
        p = NOT_TESTED if row["p"] is None else p_text(row["p"])
        lines.append(
            f"{row['dataset']}, {row['users']:,} users{without}: {number(row['one'])} and "
            f"{number(row['other'])}, difference {signed(row['difference'])} "
            f"({signed(row['low'])} to {signed(row['high'])}), {p}"
        )
    return "\n".join(lines)
