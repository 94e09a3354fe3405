"""`handyrep` and `python -m handyrep`."""

from handyrep.surfaces.cli import main

if __name__ == "__main__":
    main()
