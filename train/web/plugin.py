"""Make the plugin that adds runs to the page of `flowkit view` (entry-point group flowkit.web)."""

from pathlib import Path

from flowkit.web.app import Plugin, WebContext

STATIC = Path(__file__).parent / "static"


def make_plugin(context: WebContext) -> Plugin:
    """Open the runs and make the plugin; without runs, it is empty and torch is not imported.

    Args:
        context: The store and the runs.

    Raises:
        UsageError: A path is no run, or the store does not fit the run.
    """
    if not context.runs:
        return Plugin()
    from train.web.attention_routes import AttentionAnswers
    from train.web.on_demand import Worker
    from train.web.open_runs import open_runs
    from train.web.orders import make_orders
    from train.web.routes import RunAnswers
    from train.web.static_copy import list_addresses, list_video_addresses

    worker = Worker()
    runs = open_runs(context.runs, context.store.get().store)
    answers = RunAnswers(context.store, runs, context.is_static)
    attention = AttentionAnswers(answers, worker)
    return Plugin(
        routes=[*answers.list_routes(), *attention.list_routes()],
        scripts=["/static/runs/runs.js"],
        static={"/static/runs": STATIC},
        # The written folder lacks the values by which these orders sort.
        orders={} if context.is_static else make_orders(runs),
        list_addresses=lambda: list_addresses(runs),
        list_video_addresses=list_video_addresses,
        close=worker.close,
    )
