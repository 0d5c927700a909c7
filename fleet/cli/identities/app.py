"""All commands for identities, in the order in which `fedge --help` lists them."""

import typer

from fleet.cli.identities import enrolment, exclusion, founding, lists, renewal

app = typer.Typer()
for commands in (founding, enrolment, exclusion, renewal, lists):
    app.add_typer(commands.app)
