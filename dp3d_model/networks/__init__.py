"""Networks: from what is seen of an instance to its body and camera."""
