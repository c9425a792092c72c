"""`python -m memdetect`."""

from memdetect.cli import main

if __name__ == "__main__":
    main()
