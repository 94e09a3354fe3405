"""`python -m handyrep.sandbox`: the demo."""

from handyrep.sandbox.demo import main

if __name__ == "__main__":
    main()
