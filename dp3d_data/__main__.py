"""python -m dp3d_data: the same as the program dp3d-data."""

from pipelines.cli.data import main

if __name__ == "__main__":
    main(prog_name="dp3d-data")
