"""`python -m lstmcore`."""

from lstmcore.cli import program

program()
