"""`flowkit recipes`: what can be trained."""

import json as json_text

import click


@click.command()
@click.argument("name", required=False)
@click.option("--json", is_flag=True, help="Print one object per recipe, as a list.")
def recipes(name: str | None, json: bool) -> None:
    """List the recipes: paper, what it reports, what is needed. With NAME, print it whole."""
    from train.recipe import list_recipes, read_recipe, write_recipe

    if name is not None:
        click.echo(write_recipe(read_recipe(name)))
        return
    found = {one: read_recipe(one) for one in list_recipes()}
    if json:
        rows = [
            {"name": one, "title": r.title, "paper": r.paper, "dataset": r.dataset,
             "reported": r.reported, "needs": r.needs}
            for one, r in found.items()
        ]  # fmt: skip
        click.echo(json_text.dumps(rows))
        return
    for one, recipe in found.items():
        click.echo(f"{click.style(one, bold=True)}  {recipe.title}")
        click.echo(f"    {recipe.paper}; dataset {recipe.dataset}")
        if recipe.reported:
            values = (f"{k} {'/'.join(map(str, v))}" for k, v in recipe.reported.items())
            click.echo(f"    reported: {', '.join(values)}")
        if recipe.needs:
            click.echo(f"    needs {recipe.needs}")
