"""Runs: every run and stage with its curves, samples and exams while it trains and after; trainings started, stopped, gone
on with; runs compared, promoted and taken back.
"""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import FileResponse, RedirectResponse
from starlette.responses import JSONResponse, Response

from plutao import recipe as recipes
from plutao.errors import UserError
from plutao.project import RECIPE_FILE
from plutao.serve import jobs, promotion
from plutao.serve.api.common import Kept, Number, Short, by_of, root_of
from plutao.serve.errors import bad_request, not_found
from plutao.serve.tables.jobs import TrainingJob
from plutao.train.progress import clock
from plutao.web import charts, watching
from plutao.web.charts import Chart
from plutao.web.people import Asker, OwnerReader
from plutao.web.templating import fragment, in_words, language_of, page, translator
from plutao.web.watching import RunSeen, StageSeen

router = APIRouter(include_in_schema=False)
REPORT_POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'none'"
"""Beside the report's own, which lets in nothing but its own scripts by their hashes: no cookie, nothing of ours in reach."""
MOST_COMPARED = 4
OVERLAID = ("loss", "reward", "kl")
LOWER_IS_BETTER = ("bits_per_byte", "validation_loss")
MOST_OVERRIDES = 40


def working_of(database: Kept, root: Path) -> TrainingJob | None:
    return jobs.at_work(database, root)


# ---------------------------------------------------------------------------------------------------------------------
# Runs


@router.get("/runs")
def runs(request: Request, caller: Asker, database: Kept) -> Response:
    return runs_page(request, database)


def runs_page(request: Request, database: Kept, problem: str = "", given: dict[str, Any] | None = None) -> Response:
    root = root_of(request)
    latest = jobs.latest(database, root, 10)
    job = next((one for one in latest if one.state == "running"), None)
    with database.reading() as db:
        before = promotion.earlier(db, root)
    context: dict[str, Any] = {
        "runs": watching.all_runs(root, job.run if job else None),
        "job": job,
        "jobs": latest,
        "stages_of_recipe": stages_of(root),
        "before": before,
        "problem": problem,
        "given": given or {},
        "clock": clock,
    }
    return page(request, "runs/runs.html", 400 if problem else 200, **context)


def stages_of(root: Path) -> list[str]:
    """The stages that the project's recipe trains; none where there is no recipe to train."""
    try:
        return [stage for stage in recipes.load(root / RECIPE_FILE).stages if stage != "tokenizer"]
    except UserError:
        return []


@router.get("/runs/{run}")
def run_page(request: Request, run: Short, caller: Asker, database: Kept) -> Response:
    root = root_of(request)
    job = working_of(database, root)
    seen = watching.one_run(root, run, job.run if job else None)
    found = seen.found
    exams = {stage: one for stage, one in (found.get("exam") or {}).items() if one.get("overall")}
    context: dict[str, Any] = {
        "run": seen,
        "exams": exams,
        "wins": found.get("win_rates") or {},
        "job": job,
        "clock": clock,
    }
    return page(request, "runs/run.html", **context)


@router.get("/runs/{run}/report")
def report(request: Request, run: Short, caller: Asker) -> Response:
    """The run's own report, shut off from everything else of ours."""
    folder = watching.one_run(root_of(request), run).folder
    if not (folder / "report.html").is_file():
        raise not_found(f"Run {run[:100]} has no report yet: it is written when a training ends.")
    headers = {"content-security-policy": REPORT_POLICY, "x-content-type-options": "nosniff"}
    return FileResponse(folder / "report.html", media_type="text/html; charset=utf-8", headers=headers)


@router.get("/runs/{run}/{stage}")
def stage_page(request: Request, run: Short, stage: Short, caller: Asker, database: Kept) -> Response:
    root = root_of(request)
    job = working_of(database, root)
    seen = watching.one_run(root, run, job.run if job else None)
    one = watching.one_stage(seen, stage)
    context: dict[str, Any] = {"run": seen, "stage": one, "job": job, "clock": clock, "script_words": ("charts",)}
    return page(request, "runs/stage.html", **context, **shown(request, seen, one))


def shown(request: Request, run: RunSeen, stage: StageSeen) -> dict[str, Any]:
    """What changes while a stage trains."""
    history = stage.history
    last = history.training[-1] if history.training else {}
    drawn = charts.of_stage(history, stage.name, where(request, run, stage, last.get("step")), translator(request))
    return {
        "charts": [chart for chart in drawn if not charts.in_detail(chart, translator(request))],
        "more": [chart for chart in drawn if charts.in_detail(chart, translator(request))],
        "last": last,
        "samples": watching.samples(history),
        "events": history.events[-20:],
        "short": charts.short(language_of(request)),
    }


def where(request: Request, run: RunSeen, stage: StageSeen, step: int | None) -> str:
    t = translator(request)
    place = f"{run.name} · {stage.name}"
    return place if step is None else t("runs.at_step", place=place, step=step)


@router.get("/web/runs/{run}/{stage}")
def stage_now(request: Request, run: Short, stage: Short, caller: Asker, database: Kept) -> Response:
    """The stage's charts as data, and the rest of what changes as a piece of the page."""
    root = root_of(request)
    job = working_of(database, root)
    seen = watching.one_run(root, run, job.run if job else None)
    one = watching.one_stage(seen, stage)
    now = shown(request, seen, one)
    told = fragment(request, "runs/now.html", run=seen, stage=one, clock=clock, **now)
    drawn = [chart.as_json() for chart in now["charts"] + now["more"]]
    return JSONResponse({"state": one.state, "charts": drawn, "told": told})


# ---------------------------------------------------------------------------------------------------------------------
# Comparison


@router.get("/compare-runs")
def compare(
    request: Request, caller: Asker, run: Annotated[list[Short] | None, Query(max_length=20)] = None
) -> Response:
    """Runs side by side: what was measured, how they learned, and in which keys their recipes differ."""
    root = root_of(request)
    chosen = [watching.one_run(root, name) for name in dict.fromkeys(run or [])][:MOST_COMPARED]
    rows, drawn = compared(request, chosen)
    context: dict[str, Any] = {
        "chosen": chosen,
        "others": [one for one in watching.all_runs(root) if one.name not in [run.name for run in chosen]],
        "rows": rows,
        "charts": drawn,
        "different": watching.differences(chosen) if len(chosen) > 1 else [],
        "script_words": ("charts",),
        "short": charts.short(language_of(request)),
    }
    return page(request, "runs/compare.html", **context)


def compared(request: Request, chosen: list[RunSeen]) -> tuple[list[tuple[str, str, list[Any], str]], list[Chart]]:
    """(rows of (stage, measure, each run's (value, low, high, form) or None, verdict), charts)."""
    names = list(dict.fromkeys(stage.name for run in chosen for stage in run.stages if stage.name != "tokenizer"))
    rows: list[tuple[str, str, list[Any], str]] = []
    drawn: list[Chart] = []
    for name in names:
        stages = [next((stage for stage in run.stages if stage.name == name), None) for run in chosen]
        told = [{key: rest for key, *rest in stage.measures} if stage else {} for stage in stages]
        for key in dict.fromkeys(key for one in told for key in one):
            values = [one.get(key) for one in told]
            rows.append((name, key, values, verdict(values, key in LOWER_IS_BETTER)))
        histories = [(run.name, stage.history) for run, stage in zip(chosen, stages, strict=True) if stage is not None]
        shows = f"{', '.join(run.name for run in chosen)} · {name}"
        for key in OVERLAID if len(chosen) > 1 else ():
            chart = charts.overlaid(histories, name, key, shows, translator(request))
            drawn += [chart] if chart else []
    return rows, drawn


def verdict(values: list[Any], lower_is_better: bool = False) -> str:
    """Whether the last differs from the first by more than chance; intervals that do not overlap are enough to say so."""
    first, last = values[0], values[-1]
    if len(values) < 2 or first is None or last is None or None in (first[1], last[1]):
        return "unknown"
    if first[0] == last[0]:
        return "same"
    if first[1] <= last[2] and last[1] <= first[2]:
        return "unsure"
    return "better" if (last[0] < first[0]) == lower_is_better else "worse"


# ---------------------------------------------------------------------------------------------------------------------
# Promoting


@router.post("/runs/{run}/promote")
def promote(request: Request, run: Short, caller: OwnerReader, database: Kept) -> Response:
    watching.one_run(root_of(request), run)
    promotion.promote(database, root_of(request), run, by_of(request, caller))
    return RedirectResponse(f"/runs/{run}", 303)


@router.post("/roll-back")
def roll_back(request: Request, caller: OwnerReader, database: Kept) -> Response:
    run = promotion.roll_back(database, root_of(request), by_of(request, caller))
    return RedirectResponse(f"/runs/{run}", 303)


# ---------------------------------------------------------------------------------------------------------------------
# Trainings


@router.post("/trainings")
def start(
    request: Request,
    caller: OwnerReader,
    database: Kept,
    stage: Annotated[Short, Form()] = "",
    minutes: Annotated[Short, Form()] = "",
    overrides: Annotated[str, Form(max_length=10_000)] = "",
    run: Annotated[Short, Form()] = "",
    keep_current: Annotated[bool, Form()] = False,
) -> Response:
    """Starts a training, or goes on with one."""
    wanted = [line.strip() for line in overrides.splitlines() if line.strip()]
    try:
        if len(wanted) > MOST_OVERRIDES or any("\0" in one for one in wanted):
            raise UserError(f"At most {MOST_OVERRIDES} changes of the recipe, each a line of text.")
        options: dict[str, Any] = {"stage": stage or None, "run": run or None, "keep_current": keep_current}
        job = jobs.start(
            database, root_of(request), by_of(request, caller), wanted, minutes=minutes_of(minutes), **options
        )
    except UserError as error:
        given = {"stage": stage, "minutes": minutes, "overrides": overrides, "keep_current": keep_current}
        return runs_page(request, database, in_words(request, error), given)
    return RedirectResponse(f"/trainings/{job.id}", 303)


def minutes_of(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise UserError("The time is a number of minutes, such as 10 or 2.5.")
    return value


def job_of(database: Kept, root: Path, number: int) -> TrainingJob:
    try:
        return jobs.status(database, root, number)
    except UserError as error:
        raise not_found(str(error)) from error


@router.get("/trainings/{id}")
def training(request: Request, id: Number, caller: OwnerReader, database: Kept) -> Response:
    root = root_of(request)
    job = job_of(database, root, id)
    return page(request, "runs/training.html", job=job, log=jobs.log_of(root, id), busy=working_of(database, root))


@router.get("/web/trainings/{id}")
def training_now(request: Request, id: Number, caller: OwnerReader, database: Kept) -> Response:
    root = root_of(request)
    job = job_of(database, root, id)
    return JSONResponse({"state": job.state, "run": job.run, "log": jobs.log_of(root, id)})


@router.post("/trainings/{id}/stop")
def stop(
    request: Request, id: Number, caller: OwnerReader, database: Kept, at_once: Annotated[bool, Form()] = False
) -> Response:
    job_of(database, root_of(request), id)
    jobs.stop(database, root_of(request), id, by_of(request, caller), at_once)
    return RedirectResponse(f"/trainings/{id}", 303)


@router.post("/trainings/{id}/go-on")
def go_on(request: Request, id: Number, caller: OwnerReader, database: Kept) -> Response:
    """The same training once more: what is done is kept, what was begun is resumed."""
    root = root_of(request)
    old = job_of(database, root, id)
    if old.state == "running":
        raise bad_request("This training is at work.")
    options: dict[str, Any] = {
        "stage": old.stage,
        "run": old.run,
        "minutes": old.minutes,
        "keep_current": old.keep_current,
    }
    if old.minutes is not None:  # its recipe was cut to the time given; the run is found by its recipe, not by its name
        options["run"] = None
    job = jobs.start(database, root, by_of(request, caller), old.overrides, **options)
    return RedirectResponse(f"/trainings/{job.id}", 303)
