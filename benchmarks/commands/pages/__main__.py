"""`python -m benchmarks.commands.pages` writes the generated pages of docs/."""

from benchmarks.commands.pages import main

if __name__ == "__main__":
    main()
