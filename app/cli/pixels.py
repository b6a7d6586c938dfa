"""``deid-gateway pixels``: text in images."""

import click

from app.cli.pixel_check import check
from app.cli.pixel_explain import explain
from app.cli.pixel_rules import rules


@click.group()
def pixels() -> None:
    """Mask text in images: rules, and what they lead to."""


pixels.add_command(rules)
pixels.add_command(explain)
pixels.add_command(check)
