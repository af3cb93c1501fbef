"""2D keypoints of a template to 3D shapes: parts, bones and a camera, learned from shards."""
