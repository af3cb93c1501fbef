"""The commands, one file each; heavy libraries are imported inside them. `commandline` is the shape of all."""
