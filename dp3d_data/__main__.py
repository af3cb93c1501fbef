"""python -m dp3d_data: the same as the program dp3d-data."""

from dp3d_data.cli import main

if __name__ == "__main__":
    main(prog_name="dp3d-data")
