"""Makes `python -m ragknn` work."""

from ragknn.cli import main

if __name__ == "__main__":
    main()
