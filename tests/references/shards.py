"""Obvious twins of the shards' kernels."""

import math


def components_slow(groups, images):
    """Spread the smallest row number over common groups and images until nothing changes."""
    names = list(range(len(groups)))
    changed = True
    while changed:
        changed = False
        for a in range(len(groups)):
            for b in range(len(groups)):
                joined = groups[a] == groups[b] or (images[a] is not None and images[a] == images[b])
                if joined and names[b] < names[a]:
                    names[a], changed = names[b], True
    return names


def judge_slow(config, measures):
    """One instance after the other, the filters as a person would say them."""
    reasons = []
    for i in range(len(measures["score"])):
        if math.isnan(measures["score"][i]) or measures["score"][i] < config.min_score:
            reasons.append("score")
        elif measures["visible_vertices"][i] < config.min_visible_vertices:
            reasons.append("few vertices")
        elif measures["known_shape"][i] and measures["visible_area"][i] < config.min_visible_area:
            reasons.append("small visible area")
        elif measures["edges"][i] > config.max_edges:
            reasons.append("truncated")
        elif measures["spread"][i] > config.max_spread:
            reasons.append("spread")
        elif measures["cycle"][i] < config.min_cycle:
            reasons.append("cycle")
        else:
            reasons.append(None)
    return reasons


def dense_slow(rows, num_vertices):
    """Keypoints and visibility as nested lists, entry by entry."""
    keypoints = [[[0.0, 0.0] for _ in range(num_vertices)] for _ in rows]
    visible = [[False] * num_vertices for _ in rows]
    for n, row in enumerate(rows):
        for vertex, x, y in zip(row["vertex_ids"], row["keypoints_x"], row["keypoints_y"], strict=True):
            keypoints[n][vertex] = [float(x), float(y)]
            visible[n][vertex] = True
    return keypoints, visible


def measure_slow(row):
    """Edges touched and relative spread of one row."""
    edges = sum(
        [
            row["box_x0"] <= 0.5,
            row["box_y0"] <= 0.5,
            row["box_x1"] >= row["image_width"] - 0.5,
            row["box_y1"] >= row["image_height"] - 0.5,
        ]
    )
    side = max(row["box_x1"] - row["box_x0"], row["box_y1"] - row["box_y0"])
    return edges, sum(float(s) for s in row["spread"]) / len(row["spread"]) / side


def on_grid_slow(values, step):
    """Each value by itself, in exact arithmetic: the nearest multiple, of two equally near ones the even."""
    from fractions import Fraction

    return [float(round(Fraction(float(value)) / Fraction(step)) * Fraction(step)) for value in values]


def repeated_slow(keys, boxes, among):
    """One row after the other, with what was seen before."""
    seen, result = set(), []
    for key, box, looked_at in zip(keys, boxes, among, strict=True):
        what = (key, tuple(float(x) for x in box))
        result.append(looked_at and key is not None and what in seen)
        if looked_at and key is not None:
            seen.add(what)
    return result


def content_hash_slow(row):
    """The hash of one row, as docs/shards.md describes it."""
    import hashlib
    import struct

    text = row["template_hash"].encode() + b"".join(struct.pack("<i", int(v)) for v in row["vertex_ids"])
    for name in ("keypoints_x", "keypoints_y"):
        text += b"".join(struct.pack("<f", v + 0.0) for v in on_grid_slow(row[name], 1 / 64))
    return hashlib.sha256(text).hexdigest()[:16]


def trim_slow(row, config, area_share):
    """One row without the vertices that fail, and the reasons of those, one after the other."""
    if row["model"] == "truth":
        return dict(row), []
    side = max(row["box_x1"] - row["box_x0"], row["box_y1"] - row["box_y0"])
    places, reasons = [], []
    for place in range(len(row["vertex_ids"])):
        if row["pixel_counts"][place] < config.min_pixels:
            reasons.append("few pixels")
        elif config.max_vertex_spread > 0 and row["spread"][place] / side > config.max_vertex_spread:
            reasons.append("vertex spread")
        elif row["cycle"] is not None and row["cycle"][place] < config.min_vertex_cycle:
            reasons.append("vertex cycle")
        else:
            places.append(place)
    lists = ("vertex_ids", "keypoints_x", "keypoints_y", "pixel_counts", "spread", "confidence", "cycle")
    cut = {name: None if row[name] is None else [row[name][place] for place in places] for name in lists}
    if reasons:
        cut["visible_area"] = sum(float(area_share[vertex]) for vertex in cut["vertex_ids"])
    return dict(row) | cut, reasons


def shape_distance_slow(one, other, turns=3600):
    """The least distance over many turns of the second shape."""
    angles = [2 * math.pi * k / turns for k in range(turns)]
    turned = ([value * complex(math.cos(a), math.sin(a)) for value in other] for a in angles)
    return min(math.sqrt(sum(abs(x - y) ** 2 for x, y in zip(one, place, strict=True))) for place in turned)


def near_duplicates_slow(shapes, threshold, distance):
    """Every shape with every kept one before it."""
    kept, first = [], []
    for row, shape in enumerate(shapes):
        near = [other for other in kept if any(shape) and any(shapes[other])]
        near = [other for other in near if distance(shape, shapes[other]) < threshold]
        first.append(near[0] if near else -1)
        if not near:
            kept.append(row)
    return first


def shape_slow(ids, points, patches):
    """One instance, patch after patch; points are x + i y."""
    places, shares = [], []
    for patch in range(len(patches[0])):
        own = [(patches[k][patch], point) for k, point in zip(ids, points, strict=True)]
        mass = sum(weight for weight, _ in own)
        places.append(sum(weight * point for weight, point in own) / mass)
        shares.append(mass / sum(row[patch] for row in patches))
    middle = sum(share * place for share, place in zip(shares, places, strict=True)) / sum(shares)
    shape = [math.sqrt(share) * (place - middle) for share, place in zip(shares, places, strict=True)]
    length = math.sqrt(sum(abs(value) ** 2 for value in shape))
    return [value / length for value in shape]
