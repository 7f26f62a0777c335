"""`plutao plan`: what a training takes and costs, before anything runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from plutao.models.cost import Optimizer
    from plutao.models.decoder import DecoderConfig
    from plutao.models.plan import Plan


def plan(
    dir: Annotated[Path, typer.Argument(help="The project's folder; its recipe says what is not given here.")] = Path(),
    model: Annotated[str | None, typer.Option(help="A preset instead of the recipe's model.")] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Tokens to train on, as in 3e11; 20 a parameter if left out.")
    ] = None,
    vocabulary: Annotated[int | None, typer.Option(help="Tokens the model knows.")] = None,
    context: Annotated[int | None, typer.Option(help="Positions the model sees at once.")] = None,
    batch: Annotated[int | None, typer.Option(help="Rows per step, over all devices.")] = None,
    hardware: Annotated[str, typer.Option(help="this, or as in 8xH100.")] = "this",
    utilisation: Annotated[float, typer.Option(help="Share of the peak rate that training reaches.")] = 0.4,
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
    config, rows, recipe_tokens, optimizer = choose(dir, model, vocabulary, context)
    devices, device = parse_hardware(hardware)
    made = make_plan(
        config,
        device,
        devices,
        tokens=int(tokens) if tokens else recipe_tokens,
        batch=batch or max(1, -(-rows // devices)) * devices,
        utilisation=utilisation,
        price_per_hour=price_per_hour,
        watts=watts,
        optimizer=optimizer,
    )
    if json:
        typer.echo(dumps(made.as_dict()))
    else:
        show(made)


def choose(
    dir: Path, model: str | None, vocabulary: int | None, context: int | None
) -> "tuple[DecoderConfig, int, int | None, Optimizer]":
    """(shape, rows per step, tokens, optimizer): the preset's where one is named, else the recipe's."""
    from plutao import recipe as recipes
    from plutao.models.presets import decoder_config

    if model is not None:
        return decoder_config(model, vocabulary, context), 16, None, "muon"
    recipe = recipes.load(dir / "plutao.toml")
    shape = recipe.model.model_dump(exclude={"preset", "context", "start_from"})
    config = decoder_config(
        recipe.model.preset, vocabulary or recipe.tokenizer.vocabulary, context or recipe.model.context, **shape
    )
    return config, recipe.base.batch, recipe.base.tokens, recipe.base.optimizer.kind


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
        lines.append(("energy", f"{plan.kilowatt_hours:,.0f} kWh", ""))
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
