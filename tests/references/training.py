"""Obvious twins of the training losses and metrics: loops that nobody can doubt."""

import math


def soft_embedding_loss_slow(pixels, vertices, geodesics, embedding_sigma, geodesic_sigma):
    """Kullback-Leibler divergence of target to prediction, one pixel and one vertex at a time."""
    total = 0.0
    for pixel, distances in zip(pixels, geodesics, strict=True):
        near = [math.exp(-sum((a - b) ** 2 for a, b in zip(pixel, v, strict=True)) / embedding_sigma) for v in vertices]
        target = [math.exp(-d / geodesic_sigma) for d in distances]
        for p, t in zip(near, target, strict=True):
            p, t = p / sum(near), t / sum(target)
            total += t * math.log(t / p)
    return total / len(pixels)


def average_precision_slow(scores, correct, objects):
    """For each hit, the best precision at its rank or any later one."""
    ranked = [c for _, c in sorted(zip([-s for s in scores], correct, strict=True), key=lambda pair: pair[0])]
    precision = [sum(ranked[: i + 1]) / (i + 1) for i in range(len(ranked))]
    return sum(max(precision[i:]) for i, hit in enumerate(ranked) if hit) / objects
