"""The commands of dp3d-model, one file each."""
