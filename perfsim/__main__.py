"""`python -m perfsim`."""

from perfsim.cli.main import main

if __name__ == "__main__":
    main(prog_name="perfsim")
