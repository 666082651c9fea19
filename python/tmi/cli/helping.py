"""Help of a command with many options: in groups, short unless all is asked for."""

from __future__ import annotations

import click

# What stands under which heading, by the names of the parameters; what is in none comes last.
GROUPS = {
    "What to run": (
        "data",
        "out",
        "name",
        "models",
        "seed",
        "attacks",
        "options",
        "settings",
        "variants",
        "epsilons",
        "fresh",
        "force",
        "show_points",
    ),
    "Saved predictions": (
        "predictions",
        "membership",
        "labels",
        "pretraining_labels",
        "pretrained_predictions",
        "target",
        "non_members",
        "ids",
        "layout",
    ),
    "The adversary": ("views", "shadows", "together", "targets", "fpr"),
    "The machine": ("device", "workers", "memory"),
    "A gate for releases": ("conditions", "end", "as_json"),
}
OTHERS = "Help"
# What most people need.
SHORT = {
    *("out", "models", "attacks", "settings", "fresh", "predictions", "membership", "labels", "target"),
    *("views", "workers", "device", "conditions", "as_json", "help_all"),
}


class Grouped(click.Command):
    """A command whose ``--help`` has headings and a sentence of what is most needed; ``--help-all`` has all."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show all options with all that is said of them.",
            )
        )

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        whole, left_out = bool(context.meta.get(__name__)), 0
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*GROUPS, OTHERS)}
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is None or not isinstance(parameter, click.Option):
                continue
            if not whole and parameter.name not in SHORT and "--help" not in parameter.opts:
                left_out += 1
                continue
            heading = next((heading for heading, names in GROUPS.items() if parameter.name in names), OTHERS)
            option, said = record
            groups[heading].append((option, said if whole else said.partition(". ")[0].removesuffix(".") + "."))
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        if left_out:
            formatter.write_paragraph()
            formatter.write_text(f"`{context.command_path} --help-all` says more, also of {left_out} further options.")


def _show_all(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.meta[__name__] = True
        click.echo(context.get_help())
        context.exit()
