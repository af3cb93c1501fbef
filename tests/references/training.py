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
    """Expected distance from each start to where the way there and back ends; softmaxes of squared distances /
    sigma."""
    total = 0.0
    for start, a in enumerate(here):
        for by, share in enumerate(softmax_slow([squared_slow(a, b) / sigma for b in there])):
            back = softmax_slow([squared_slow(there[by], c) / sigma for c in here])
            total += share * sum(p * d for p, d in zip(back, distances[start], strict=True))
    return total / len(here)


def mirror_loss_slow(pixels, mirrored, vertices, mirror, sigma):
    """Half the sum of both Kullback-Leibler divergences, one pixel at a time; squared distances, which unit vertices
    make the same."""
    total = 0.0
    for pixel, other in zip(pixels, mirrored, strict=True):
        here = softmax_slow([squared_slow(pixel, v) / sigma for v in vertices])
        there = softmax_slow([squared_slow(other, vertices[m]) / sigma for m in mirror])
        total += sum(p * math.log(p / q) + q * math.log(q / p) for p, q in zip(here, there, strict=True)) / 2
    return total / len(pixels)


def average_precision_slow(scores, correct, objects):
    """For each hit, the best precision at its rank or any later one."""
    ranked = [c for _, c in sorted(zip([-s for s in scores], correct, strict=True), key=lambda pair: pair[0])]
    precision = [sum(ranked[: i + 1]) / (i + 1) for i in range(len(ranked))]
    return sum(max(precision[i:]) for i, hit in enumerate(ranked) if hit) / objects


def transfer_errors_slow(seen):
    """Each keypoint visible in both of each ordered pair, one pixel of the second one's mask at a time; maps as large
    as their boxes."""
    errors = []
    for to, (there, target) in enumerate(seen):
        x, y, right, bottom = (int(value) for value in there.box)
        for by, (here, source) in enumerate(seen):
            for (kx, ky, seen_here), (tx, ty, seen_there) in zip(source.named, target.named, strict=True):
                if by == to or not (seen_here and seen_there):
                    continue
                x0, y0, x1, y1 = (int(value) for value in here.box)
                wanted = here.embedding[:, min(max(int(ky), y0), y1 - 1) - y0, min(max(int(kx), x0), x1 - 1) - x0]
                best, place = -math.inf, None
                for row in range(y, bottom):
                    for column in range(x, right):
                        pixel = there.embedding[:, row - y, column - x]
                        alike = sum(a * b for a, b in zip(pixel, wanted, strict=True)) / math.sqrt(
                            sum(a * a for a in pixel)
                        )
                        if target.mask[row, column] and alike > best:
                            best, place = alike, (column + 0.5, row + 0.5)
                errors.append(math.dist(place, (tx, ty)) / math.sqrt(target.mask.sum()))
    return errors


def placed_keypoints_slow(dense, wanted, geodesics, near=0.02):
    """The mean of the pixels weighted by exp(-(distance on the surface / near)^2), relative to the nearest, one at a
    time."""
    pixels = [(row, column) for row, line in enumerate(dense.mask) for column, inside in enumerate(line) if inside]
    places = []
    for vertex in wanted:
        shares = softmax_slow([(geodesics[vertex][dense.vertex_ids[pixel]] / near) ** 2 for pixel in pixels])
        x = sum(share * (dense.origin[0] + column + 0.5) for share, (_, column) in zip(shares, pixels, strict=True))
        y = sum(share * (dense.origin[1] + row + 0.5) for share, (row, _) in zip(shares, pixels, strict=True))
        places.append((x, y))
    return places
