"""The command that says which rights a user of Redis needs: acl."""

from __future__ import annotations

from typing import cast

import click

from ragknn._protocol.rights import RIGHTS, Role, rules_of
from ragknn.cli.options import common, name_argument
from ragknn.cli.screen import print_json, stdout


@click.command()
@name_argument
@click.option(
    "--role",
    "roles",
    type=click.Choice(list(RIGHTS)),
    multiple=True,
    default=["reader"],
    show_default=True,
    help="What the user does with the index; several times for several roles.",
)
@click.option("--user", default="USER", show_default=True, help="Name of the user.")
@click.option("--cluster", is_flag=True, help="For a Redis Cluster, on each node of which it is to be done.")
@common
def acl(name: str, roles: tuple[str, ...], user: str, cluster: bool, as_json: bool) -> None:
    """Print the command for redis-cli that gives a user the least rights on the index NAME, and no others.

    A reader searches and reads; a writer adds, changes and removes documents; an admin creates, changes and drops the
    index. Put a password in place of PASSWORD. Nothing is sent to a server.
    """
    if not user or any(char.isspace() or not char.isprintable() for char in user):
        raise click.BadParameter(f"expected the name of a user, without spaces, got {user!r}", param_hint="--user")
    rules = rules_of(cast("tuple[Role, ...]", roles), name, cluster=cluster)
    if as_json:
        print_json({"user": user, "roles": list(roles), "rules": rules})
    else:
        stdout.print(" ".join(["ACL SETUSER", user, "reset on >PASSWORD", *rules]), soft_wrap=True)
