"""`python -m mesh` and the `dac` command."""

from mesh.cli import main

if __name__ == "__main__":
    main()
