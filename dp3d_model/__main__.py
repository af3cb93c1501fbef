"""python -m dp3d_model: the same as the program dp3d-model."""

from pipelines.cli.model import main

if __name__ == "__main__":
    main(prog_name="dp3d-model")
