"""The commands of dp3d-data and dp3d-model, one file each; heavy libraries are imported inside them."""
