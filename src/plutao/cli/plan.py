"""`plutao plan`: what a training takes and costs, before anything runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plutao.errors import UserError

if TYPE_CHECKING:
    from plutao.models.decoder import DecoderConfig
    from plutao.models.hardware import Hardware
    from plutao.models.plan import Plan
    from plutao.recipe import Recipe
    from plutao.stages.dial import Choice, Text


def plan(
    dir: Annotated[Path, typer.Argument(help="The project's folder; its recipe says what is not given here.")] = Path(),
    model: Annotated[str | None, typer.Option(help="A preset instead of the recipe's model.")] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Tokens to train on, as in 3e11; 20 a parameter if left out.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="10m", help="The best size for this time, as 90s, 10m or 1.5h.")
    ] = None,
    vocabulary: Annotated[int | None, typer.Option(help="Tokens the model knows.")] = None,
    context: Annotated[int | None, typer.Option(help="Positions the model sees at once.")] = None,
    batch: Annotated[int | None, typer.Option(help="Rows per step, over all devices.")] = None,
    hardware: Annotated[str, typer.Option(help="this, or as in 8xH100.")] = "this",
    utilisation: Annotated[
        float | None,
        typer.Option(help="Share of the peak rate that training reaches; 0.4, on this machine as measured."),
    ] = None,
    price_per_hour: Annotated[float | None, typer.Option(help="US dollars for one device and hour.")] = None,
    watts: Annotated[float | None, typer.Option(help="Power of one device.")] = None,
    presets: Annotated[bool, typer.Option("--presets", help="List the presets.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
) -> None:
    """Parameters, memory, operations, time, energy and money, with the reasons, before anything runs."""
    from json import dumps

    from plutao.models.hardware import parse_hardware
    from plutao.models.plan import make_plan

    if presets:
        list_presets(json)
        return
    if time is not None and tokens is not None:
        raise UserError("--time and --tokens contradict each other: the time says how many tokens there will be.")
    recipe = choose(dir, model, vocabulary, context)
    devices, device = parse_hardware(hardware)
    if "base" not in recipe.stages:
        names = ", ".join(f"{name} ({length})" for name, length in other_stages(recipe).items())
        raise UserError(
            f"{dir / 'plutao.toml'} trains no base model, which is what a plan reckons; its stages: {names}. Name one with "
            "--model."
        )
    chosen = None if time is None else turn_dial(dir, recipe, time, device, devices, utilisation, model is not None)
    recipe = recipe if chosen is None else chosen.recipe
    config = shape_of(recipe, dir)
    rows = batch or max(1, -(-recipe.base.batch // devices)) * devices
    speed = None if device.name != "this machine" or utilisation else speed_here(dir, recipe, config, rows, device)
    length = int(tokens) if tokens else recipe.base.tokens
    if chosen is not None:
        length = next(candidate.tokens for candidate in chosen.table if candidate.preset == chosen.preset)
    made = make_plan(
        config,
        device,
        devices,
        tokens=length,
        batch=rows,
        utilisation=utilisation,
        price_per_hour=price_per_hour,
        watts=watts,
        optimizer=recipe.base.optimizer.kind,
        tokens_per_second=speed,
    )
    if json:
        extra = {} if chosen is None else {"dial": chosen.as_json()}
        typer.echo(dumps(made.as_dict() | extra | {"other_stages": other_stages(recipe)}))
        return
    if chosen is not None:
        show_dial(chosen)
    show(made)
    if others := other_stages(recipe):
        typer.echo("- This is the base model alone. Besides, the recipe has " + list_parts(others) + ".")


def other_stages(recipe: "Recipe") -> dict[str, str]:
    """How long each further stage of a recipe trains, in its own words."""
    found: dict[str, str] = {}
    for stage in recipe.stages:
        if stage not in ("tokenizer", "base"):
            lengths = {unit: getattr(getattr(recipe, stage), unit, None) for unit in ("minutes", "steps", "epochs")}
            said = [f"{value:g} {unit if value != 1 else unit[:-1]}" for unit, value in lengths.items() if value]
            found[stage] = said[0] if said else "once over its data"
    return found


def choose(dir: Path, model: str | None, vocabulary: int | None, context: int | None) -> "Recipe":
    """The project's recipe; one of a preset alone, with its own vocabulary and context, where that is named."""
    from plutao import recipe as recipes
    from plutao.models.presets import decoder_config

    given = [f"tokenizer.vocabulary={vocabulary}"] if vocabulary else []
    if model is None:
        given += [f"model.context={context}"] if context else []
        return recipes.load(dir / "plutao.toml", given)
    shape = decoder_config(model, vocabulary, context)
    given = [f"tokenizer.vocabulary={max(shape.vocabulary, 64)}", f"model.context={shape.context}"]
    return recipes.parse("", overrides=[*given, f"model.preset={model}"])


def shape_of(recipe: "Recipe", dir: Path) -> "DecoderConfig":
    """The shape itself, its vocabulary as given: the padding of a real table is not counted."""
    from plutao.models.presets import decoder_config
    from plutao.stages import base

    if recipe.model.start_from:
        return base.shape(recipe, recipe.tokenizer.vocabulary, dir)
    shape = recipe.model.model_dump(exclude={"preset", "context", "start_from"})
    return decoder_config(recipe.model.preset, recipe.tokenizer.vocabulary, recipe.model.context, **shape)


def speed_here(dir: Path, recipe: "Recipe", config: "DecoderConfig", rows: int, hardware: "Hardware") -> float:
    """Tokens a second of this machine, by training a few steps; remembered in the project."""
    from plutao.train import device as devices
    from plutao.train.probe import Memory, of_shape

    device = devices.choose(recipe.base.precision, recipe.base.compile)
    memory = Memory(dir / "data" / "speed.json" if (dir / "data").is_dir() else None, recipe.base, device)
    typer.echo("Training a few steps to see how fast this machine is …", err=True)
    return of_shape(config, recipe.base, device, memory, hardware.flops).tokens_per_second(rows, config.context)


def turn_dial(
    dir: Path,
    recipe: "Recipe",
    time: str,
    hardware: "Hardware",
    devices: int,
    utilisation: float | None,
    keep_size: bool,
) -> "Choice":
    """The best size for a time, as `plutao run --time` would choose it."""
    from plutao.cli.project import parse_minutes
    from plutao.stages import dial

    minutes, text = parse_minutes(time), text_of(dir)
    shapes = dial.shapes_of(recipe, recipe.tokenizer.vocabulary, dir, keep_size or dial.fixes_shape(recipe, ()))
    if hardware.name != "this machine":
        return dial.choose_listed(recipe, shapes, text, minutes, dir, hardware, devices, utilisation)
    return dial.choose_shape(recipe, shapes, text, minutes, dir, lambda line: typer.echo(line, err=True))


def text_of(dir: Path) -> "Text":
    """What is known of the project's text: the tokens of its newest shards."""
    from plutao.data.shards import load_shards
    from plutao.stages.dial import Text

    built = sorted((dir / "data" / "shards").glob("*/index.json"), key=lambda path: path.stat().st_mtime)
    if not built:
        return Text()
    shards = load_shards(built[-1].parent)
    return Text(shards.tokens(), shards.tokens("validation"))


def show_dial(chosen: "Choice") -> None:
    from plutao.stages.dial import lines_of

    for line in [*lines_of(chosen), "", *(f"- {reason}" for reason in chosen.reasons), ""]:
        typer.echo(line)


def list_presets(as_json: bool) -> None:
    from json import dumps

    from plutao.models.presets import PRESETS, decoder_config

    shapes = {name: decoder_config(name) for name in PRESETS}
    if as_json:
        typer.echo(dumps({name: vars(shape) | {"parameters": shape.parameters()} for name, shape in shapes.items()}))
        return
    titles = ("preset", "parameters", "layers", "width", "heads", "hidden", "context")
    line = "{:<13}{:>16}{:>8}{:>8}{:>7}{:>8}{:>9}   {}"
    typer.echo(line.format(*titles, "source"))
    for name, c in shapes.items():
        numbers = (c.parameters(), c.layers, c.width, c.heads, c.hidden, c.context)
        typer.echo(line.format(name, *(f"{number:,}" for number in numbers), PRESETS[name].source))
    for name, preset in PRESETS.items():
        if preset.note:
            typer.echo(f"{name}: {preset.note}")


def show(plan: "Plan") -> None:
    memory = {name: size for name, size in plan.memory.as_dict().items() if name != "total"}
    lines = [
        (
            "parameters",
            f"{plan.parameters:,}",
            list_parts({n: f"{v:,}" for n, v in plan.parameters_by_part.items() if v}),
        ),
        ("memory", in_bytes(plan.memory.total), list_parts({name: in_bytes(size) for name, size in memory.items()})),
        ("", in_bytes(plan.key_value_memory), "keys and values of one text of full length"),
        ("tokens", f"{plan.tokens:,}", f"{plan.tokens / plan.parameters:.1f} a parameter"),
        ("operations", f"{plan.flops:.3g}", f"{plan.plain_flops:.3g} as 6 × parameters × tokens"),
        ("time", duration(plan.seconds), f"on {plan.devices} × {plan.hardware}"),
    ]
    if plan.kilowatt_hours is not None:
        lines.append(("energy", f"{plan.kilowatt_hours:,.{0 if plan.kilowatt_hours >= 1 else 3}f} kWh", ""))
    if plan.price is not None:
        lines.append(("money", f"{plan.price:,.2f} USD", ""))
    for title, figure, parts in lines:
        typer.echo(f"{title:<11}{figure:>20}   {parts}".rstrip())
    typer.echo()
    for reason in plan.reasons:
        typer.echo(f"- {reason}")


def list_parts(parts: dict[str, str]) -> str:
    return ", ".join(f"{name.replace('_', '-')} {figure}" for name, figure in parts.items())


def in_bytes(size: int) -> str:
    """Bytes in GiB from two of them on, else in MiB."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**31 else f"{size / 2**20:,.1f} MiB"


def duration(seconds: float) -> str:
    """Seconds in the largest unit that leaves more than two of it."""
    for unit, size in (("years", 365.25 * 86400), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds > 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} seconds"
