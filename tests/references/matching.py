"""Obvious twins of the matching room: one pixel at a time, in plain Python numbers."""

import math


def nearest_vertices_slow(pixels, vertices):
    """The first vertex whose squared distance no other vertex undercuts."""
    found = []
    for pixel in pixels:
        distances = [sum((float(a) - float(b)) ** 2 for a, b in zip(pixel, vertex, strict=True)) for vertex in vertices]
        found.append(distances.index(min(distances)))
    return found


def pool_pixels_slow(vertex_ids, positions):
    """vertex id -> (mean x, mean y, count, root mean square distance to the mean), ids ascending."""
    pooled = {}
    for vertex in sorted(set(int(i) for i in vertex_ids)):
        points = [(float(x), float(y)) for i, (x, y) in zip(vertex_ids, positions, strict=True) if i == vertex]
        mean_x, mean_y = (math.fsum(values) / len(points) for values in zip(*points, strict=True))
        squared = math.fsum((x - mean_x) ** 2 + (y - mean_y) ** 2 for x, y in points) / len(points)
        pooled[vertex] = (mean_x, mean_y, len(points), math.sqrt(squared))
    return pooled


def cycle_weights_slow(pixels, vertex_ids, positions, vertices, reach):
    """Each pixel asks its vertex for the pixel of the largest cosine, and measures the way to it."""
    weights = []
    for vertex, (x, y) in zip(vertex_ids, positions, strict=True):
        cosines = []
        for pixel in pixels:
            product = sum(float(a) * float(b) for a, b in zip(pixel, vertices[vertex], strict=True))
            cosines.append(product / max(math.sqrt(sum(float(a) ** 2 for a in pixel)), 1e-30))
        bx, by = positions[cosines.index(max(cosines))]
        weights.append(math.exp(-((x - bx) ** 2 + (y - by) ** 2) / (2 * reach**2)))
    return weights


def resize_slow(channel, width, height):
    """Bilinear samples of one channel: output pixel centres mapped to the input grid, borders repeated."""
    rows, columns = len(channel), len(channel[0])
    resized = []
    for i in range(height):
        y = min(max((i + 0.5) * rows / height - 0.5, 0.0), rows - 1)
        line = []
        for j in range(width):
            x = min(max((j + 0.5) * columns / width - 0.5, 0.0), columns - 1)
            top, left = int(y), int(x)
            low, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = channel[top][left] * (left + 1 - x) + channel[top][right] * (x - left)
            lower = channel[low][left] * (left + 1 - x) + channel[low][right] * (x - left)
            line.append(upper * (top + 1 - y) + lower * (y - top))
        resized.append(line)
    return resized
