"""All commands for identities in the order of `fedge --help`."""

import typer

from fleet.cli.pki import enrolment, exclusion, init, lists, renewal

app = typer.Typer()
for commands in (init, enrolment, exclusion, renewal, lists):
    app.add_typer(commands.app)
