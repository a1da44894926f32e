"""`python -m lstmcore`."""

from lstmcore.commands.cli import program

program()
