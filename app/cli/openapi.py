"""``deid-gateway openapi``: the interface's description, without starting anything."""

import json

import click

from app.api.application import create_app


@click.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP interface."""
    click.echo(json.dumps(create_app().openapi(), indent=2))
