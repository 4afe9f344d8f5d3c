"""`flowkit doctor`."""

from pathlib import Path

import click


@click.command()
@click.option("--dataset", "name", metavar="NAME", help="Also: is it here, will its store fit?")
@click.option("--variant", metavar="NAME", help="Its variant, such as 600 of kinetics.")
@click.option(
    "--store", type=click.Path(path_type=Path), default=Path(), show_default=True,
    help="Where the store is, or will be.",
)  # fmt: skip
@click.option("--catalog", type=click.Path(path_type=Path), help="A datasets.yaml.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    name: str | None, variant: str | None, store: Path, catalog: Path | None, as_json: bool
) -> None:
    r"""Check this machine, and say what to do about each finding.

    The exit code is 1 if anything fails.

    \b
    flowkit doctor
    flowkit doctor --dataset ucf101 --store /data/stores/ucf101
    """
    import json

    from flowkit.catalog import find_dataset, load_catalog
    from flowkit.doctor import diagnose

    dataset = find_dataset(name, variant, load_catalog(catalog)) if name else None
    findings = diagnose(store, dataset)
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            status = click.style(f"{finding.status:4}", fg=colours[finding.status])
            click.echo(f"{status}  {finding.topic:{width}}  {finding.message}")
            if finding.advice:
                click.echo(f"{'':{width + 8}}→ {finding.advice}")
    if any(finding.status == "fail" for finding in findings):
        click.get_current_context().exit(1)
