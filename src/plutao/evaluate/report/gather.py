"""What rests in a run's folder, as one dictionary: report.json, which the page and the Markdown are made from.

It reads recipe.toml, run.json and the data card (card.json), dial.json, `<stage>/stage.json` and `<stage>/metrics.jsonl`, and
of the contest of the stages comparisons.json and answers.jsonl; what a run does not have yet is left out. Nothing is measured here.
"""

import json
import tomllib
from itertools import islice
from pathlib import Path
from typing import Any

from plutao import __version__
from plutao.errors import UserError
from plutao.evaluate.report.history import History, read_history
from plutao.files import read_json
from plutao.recipe import STAGES

OF_CONTEST = ("win_rates", "ratings", "diversity", "arithmetic", "right")
"""What of comparisons.json stands at the top of report.json; the rest is under `comparisons`."""
SHOWN_ANSWERS = 8


def gather(run_dir: Path) -> tuple[dict[str, Any], dict[str, History]]:
    """The facts of a run (the content of report.json) and the history of each trained stage.

    Raises:
        UserError: no complete stage rests there, or a file is damaged.
    """
    stages = {stage: read_json(run_dir / stage / "stage.json") for stage in stages_of(run_dir)}
    if not stages:
        raise UserError(
            f"{run_dir} holds no finished stage, so there is nothing to report yet: `plutao run` goes on with it."
        )
    run = read_json(run_dir / "run.json") if (run_dir / "run.json").is_file() else {}
    contest = read_json(run_dir / "comparisons.json") if (run_dir / "comparisons.json").is_file() else {}
    histories = {stage: read_history(run_dir / stage / "metrics.jsonl") for stage in stages}
    facts = {
        "run": run_dir.name,
        "plutao": __version__,
        "created": run.get("created"),
        "recipe": read_recipe(run_dir),
        **({"dial": read_json(run_dir / "dial.json")} if (run_dir / "dial.json").is_file() else {}),
        "machine": machine(stages),
        "seconds": sum(stage.get("seconds", 0.0) for stage in stages.values()),
        "data": data_card(run_dir, run.get("data"), stages),
        "stages": {name: {key: stage[key] for key in stage if key != "exam"} for name, stage in stages.items()},
        "exam": exams(stages, contest.get("exam", {})),
        **{key: contest[key] for key in OF_CONTEST if contest.get(key)},
        "comparisons": {key: contest[key] for key in contest if key not in (*OF_CONTEST, "exam", "examples")},
        "answers": answers(run_dir / "answers.jsonl", SHOWN_ANSWERS),
        "fingerprints": {key: run[key] for key in ("recipe", "data") if key in run},
    }
    return facts, {stage: history for stage, history in histories.items() if history.training}


def stages_of(run_dir: Path) -> list[str]:
    """Names of the finished stages, in the order of the circle."""
    found = {path.parent.name for path in run_dir.glob("*/stage.json") if not path.parent.name.startswith(".")}
    return [stage for stage in STAGES if stage in found] + sorted(found - set(STAGES))


def exams(stages: dict[str, Any], taken_later: dict[str, Any]) -> dict[str, Any]:
    """Each stage's exam: its own, or the one it took in the contest."""
    found = {name: stage["exam"] for name, stage in stages.items() if stage.get("exam")}
    return {name: {**taken_later, **found}[name] for name in stages if name in found or name in taken_later}


def answers(path: Path, most: int) -> list[dict[str, Any]]:
    """The first answers of the contest, whose order already takes tasks and languages in turn."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in islice(file, most)]


def read_recipe(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "recipe.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is not there, so the run can't be explained: put the recipe it was made with back."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}): put back a good copy.") from error


def machine(stages: dict[str, Any]) -> dict[str, Any]:
    """The machine of the last stage that says one, with how it was used and the versions."""
    described: dict[str, Any] = {}
    for stage in stages.values():
        described |= stage.get("machine", {})
        described |= {
            key: stage[key] for key in ("device", "precision", "compiled", "threads", "versions") if key in stage
        }
    return described


def data_card(run_dir: Path, data: str | None, stages: dict[str, Any]) -> dict[str, Any] | None:
    """The data card with what the training read of each source: tokens, weight, epochs (the book's Figure 72).

    It rests in the run, or with the documents that the run's `data` names in its project.
    """
    places = [run_dir / "card.json", run_dir.resolve().parents[1] / "data" / "documents" / str(data) / "card.json"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    card: dict[str, Any] = read_json(path)
    read = {row["source"]: row for row in stages.get("base", {}).get("data", [])}
    for name, source in card["sources"].items():
        source |= {key: read[name][key] for key in ("tokens", "weight", "epochs") if key in read.get(name, {})}
    weights = [source.get("weight") for source in card["sources"].values()]
    if all(weight is not None for weight in weights):
        for source in card["sources"].values():
            source["weight"] = source["weight"] / sum(weights)
    return card
