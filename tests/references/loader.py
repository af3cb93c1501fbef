"""Obvious twins of the loader's order and gathering."""

import numpy as np
import scipy.linalg


def epoch_slow(order, number):
    """Global row of every place of an epoch: groups in their order, buffer by buffer, shuffled inside."""
    starts = [sum(order.sizes[:group]) for group in range(len(order.sizes))]
    groups = list(range(len(order.sizes)))
    if order.shuffle:
        seed = np.random.SeedSequence([order.seed, number, 0])
        groups = [int(group) for group in np.random.default_rng(seed).permutation(len(order.sizes))]
    buffers, held = [], []
    for group in groups:
        if order.sizes[group] == 0:
            continue
        held += [starts[group] + row for row in range(order.sizes[group])]
        if order.shuffle_buffer and len(held) >= order.shuffle_buffer:
            buffers.append(held)
            held = []
    if held:
        buffers.append(held)
    rows = []
    for index, buffer in enumerate(buffers):
        places = range(len(buffer))
        if order.shuffle:
            places = np.random.default_rng(np.random.SeedSequence([order.seed, number, 1 + index])).permutation(
                len(buffer)
            )
        rows += [buffer[place] for place in places]
    return rows


def batches_slow(order, number):
    """The rows of each batch of this rank."""
    rows = epoch_slow(order, number)
    cut = [rows[start : start + order.batch] for start in range(0, len(rows), order.batch)]
    if order.drop_last:
        cut = [batch for batch in cut if len(batch) == order.batch]
        cut = cut[: len(cut) // order.ranks * order.ranks]
    return cut[order.rank :: order.ranks]


def take_slow(table, row):
    """Vertex ids and keypoints of one instance."""
    start, stop = int(table.offsets[row]), int(table.offsets[row + 1])
    return [int(i) for i in table.vertex_ids[start:stop]], [
        (float(x), float(y)) for x, y in table.keypoints[start:stop]
    ]


def intrinsics_by_rq(projection):
    """fx, fy, cx, cy and skew of P [3, 4] by SciPy's RQ decomposition, signs turned so that the diagonal is
    positive."""
    k, _ = scipy.linalg.rq(projection[:, :3])
    k = k @ np.diag(np.sign(np.diag(k)))
    k = k / k[2, 2]
    return k[0, 0], k[1, 1], k[0, 2], k[1, 2], k[0, 1]
