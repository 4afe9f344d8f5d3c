"""Find and read what `flowkit evaluate` wrote: results and scores of a run, by evaluation.

A run can be evaluated more than once, with other test settings. An *evaluation* is one of these
times, with results and scores of its own:

    R/results.json, R/scores/                  the default evaluation, which has no name: with the
                                               test settings of the run's recipe
    R/evaluations/NAME/results.json, scores/   an evaluation with a name

``results.json`` has:

    scores       metrics by the name of a score
    costs        costs by the name of a cost
    reported     the results of the paper that belong to the dataset and the settings of the
                 evaluation, by the name of a score; evaluations of older versions lack them
    paper        the paper, and the table of it that has these results

That of an evaluation with a name also has:

    changes      the test settings that differ from the recipe, by dotted key
    testing      all its test settings: the section ``testing`` of a recipe
    made_with    the store, the version of flowkit, device and precision

It is written last, so that an evaluation without it does not count as one.
"""

import json
from pathlib import Path
from typing import Any

from train.evaluation.scores import Scores, load_scores
from train.recipe.parsing import parse
from train.recipe.sections import Testing
from train.runs.run import Run, RunError

FOLDER = "evaluations"
"""The folder of a run that has a folder for each evaluation with a name."""


def find_folder(run: Run, evaluation: str | None = None) -> Path:
    """Return the folder of an evaluation, which need not exist.

    Args:
        run: The run.
        evaluation: Name of the evaluation. Default: the default one, whose folder is the run's.
    """
    return run.path if evaluation is None else run.path / FOLDER / evaluation


def list_evaluations(run: Run) -> list[str]:
    """List the names of the finished evaluations of a run that have a name, in order."""
    return sorted(path.parent.name for path in (run.path / FOLDER).glob("[!.]*/results.json"))


def read_results(run: Run, evaluation: str | None = None) -> dict[str, Any]:
    """Read the results of an evaluation.

    Args:
        run: The run.
        evaluation: Name of the evaluation. Default: the default one.

    Returns:
        The content of ``results.json``, see the module docstring.

    Raises:
        RunError: The run has no such evaluation (the message lists those that exist), or the file
            is damaged.
    """
    path = find_folder(run, evaluation) / "results.json"
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        check_results(results, has_testing=evaluation is not None)
    except OSError as error:
        raise RunError(_describe_missing(run, evaluation)) from error
    except ValueError as error:
        advice = "run flowkit evaluate again"
        if evaluation is not None:
            advice = f"remove {path.parent}, and {advice} with --name {evaluation}"
        raise RunError(f"{path} is damaged ({error}); {advice}") from error
    results.setdefault("costs", {})
    return results


def check_results(results: Any, has_testing: bool) -> None:
    """Check the values of results.json that the code reads.

    Args:
        results: The JSON value.
        has_testing: Whether it must have the test settings, as that of an evaluation with a name.

    Raises:
        ValueError: One is missing or of a wrong type.
    """
    if not isinstance(results, dict):
        raise ValueError("expected an object")
    scores = results.get("scores")
    if not isinstance(scores, dict) or not all(isinstance(v, dict) for v in scores.values()):
        raise ValueError(f"scores is {scores!a:.40}")
    if not isinstance(results.get("costs", {}), dict):
        raise ValueError(f"costs is {results['costs']!a:.40}")
    if has_testing and not isinstance(results.get("testing"), dict):
        raise ValueError(f"testing is {results.get('testing')!a:.40}")


def load_run_scores(run: Run, score: str, evaluation: str | None = None) -> Scores:
    """Load the scores of all test videos.

    Args:
        run: The run.
        score: Name of the score, such as ``iter_1/rgb``.
        evaluation: Name of the evaluation. Default: the default one.

    Raises:
        RunError: The run has no such evaluation, the evaluation no such score (the message lists
            those that exist), or the file is damaged.
    """
    scores = find_folder(run, evaluation) / "scores"
    path = scores / f"{score}.npz"
    if not path.is_file():
        if evaluation is not None or not scores.is_dir():
            read_results(run, evaluation)  # raises where the evaluation itself is missing
        names = list_score_names(run, evaluation)
        where = "" if evaluation is None else f" in its evaluation {evaluation!r}"
        raise RunError(
            f"{run.path} has no score {score!r}{where}; it has "
            f"{', '.join(names) or 'none: run flowkit evaluate'}"
        )
    return load_scores(path)


def list_score_names(run: Run, evaluation: str | None = None) -> list[str]:
    """List the names of the scores that an evaluation has saved, in alphabetical order."""
    folder = find_folder(run, evaluation) / "scores"
    paths = [path.relative_to(folder) for path in folder.rglob("*.npz")]
    return sorted(
        path.with_suffix("").as_posix() for path in paths if not path.name.endswith(".part.npz")
    )


def read_testing(run: Run, evaluation: str | None = None) -> Testing:
    """Return the test settings of an evaluation; of the default one, those of the recipe.

    Raises:
        RunError: The run has no such evaluation.
    """
    if evaluation is None:
        return run.recipe.testing
    testing: Testing = parse(Testing, read_results(run, evaluation)["testing"], "testing")
    return testing


def _describe_missing(run: Run, evaluation: str | None) -> str:
    """Describe that a run has no such evaluation, and which it has."""
    names = list_evaluations(run)
    if evaluation is None:
        others = f"; it has the evaluations {', '.join(names)}" if names else ""
        return f"no results at {run.path / 'results.json'}; run flowkit evaluate first{others}"
    return (
        f"{run.path} has no evaluation {evaluation!r}; it has {', '.join(names) or 'none'}"
        f". Make one with flowkit evaluate {run.path} --store S --name {evaluation} --set …"
    )
