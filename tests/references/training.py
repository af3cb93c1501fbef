"""Obvious twins of the training losses and metrics: loops that nobody can doubt."""

import math


def softmax_slow(energies):
    """Shares that fall with the energy, one number at a time."""
    weights = [math.exp(-energy) for energy in energies]
    return [weight / sum(weights) for weight in weights]


def squared_slow(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def soft_embedding_loss_slow(pixels, vertices, truth, geodesics, embedding_sigma, geodesic_sigma, kernel):
    """Kullback-Leibler divergence of target to prediction, one pixel and one vertex at a time."""
    total = 0.0
    for pixel, vertex in zip(pixels, truth, strict=True):
        prediction = softmax_slow([squared_slow(pixel, v) / embedding_sigma for v in vertices])
        if kernel == "exponential":
            target = softmax_slow([d / geodesic_sigma for d in geodesics[vertex]])
        else:
            target = softmax_slow([d * d / (2 * geodesic_sigma**2) for d in geodesics[vertex]])
        total += sum(t * math.log(t / p) for p, t in zip(prediction, target, strict=True))
    return total / len(pixels)


def cycle_loss_slow(here, there, distances, sigma):
    """Expected distance from each start to where the way there and back ends; softmaxes of squared distances / sigma."""
    total = 0.0
    for start, a in enumerate(here):
        for by, share in enumerate(softmax_slow([squared_slow(a, b) / sigma for b in there])):
            back = softmax_slow([squared_slow(there[by], c) / sigma for c in here])
            total += share * sum(p * d for p, d in zip(back, distances[start], strict=True))
    return total / len(here)


def average_precision_slow(scores, correct, objects):
    """For each hit, the best precision at its rank or any later one."""
    ranked = [c for _, c in sorted(zip([-s for s in scores], correct, strict=True), key=lambda pair: pair[0])]
    precision = [sum(ranked[: i + 1]) / (i + 1) for i in range(len(ranked))]
    return sum(max(precision[i:]) for i, hit in enumerate(ranked) if hit) / objects
