"""One file per subcommand of dp3d-data; heavy libraries are imported inside the commands."""
