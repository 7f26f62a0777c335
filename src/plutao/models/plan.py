"""The plan of a training: what it takes and costs, with the reasons, before anything runs."""

from dataclasses import asdict, dataclass
from typing import Any

from plutao.errors import UserError
from plutao.models.cost import (
    Memory,
    Optimizer,
    Precision,
    attention_flops_per_token,
    key_value_memory,
    largest_batch,
    plain_flops_per_token,
    training_memory,
)
from plutao.models.decoder import DecoderConfig
from plutao.models.hardware import GIB, THIS, WATTS_A_CORE, Hardware

TOKENS_PER_PARAMETER = 20
OVERHEAD = 1.1
"""Power of a data centre for each watt of its devices (Touvron et al. 2023, section 6)."""
ELECTRICITY = 0.20
"""US dollars for a kilowatt-hour, where no machine is rented: about what households pay in Brazil and much of Europe."""
UTILISATION = 0.4
"""Of the peak rate of listed hardware, where nothing is measured: good trainings reach 0.3 to 0.5."""


@dataclass(frozen=True)
class Plan:
    """Everything `plutao plan` tells. Bytes, seconds, kilowatt-hours and US dollars; None where it can't be known."""

    parameters: int
    parameters_by_part: dict[str, int]
    context: int
    tokens: int
    flops_per_token: float
    flops: float
    """6N for each token, and attention."""
    plain_flops: float
    """6N for each token alone: how most papers count."""
    batch: int
    micro_batch: int
    """Rows computed at once on one device; 0 where not even one fits."""
    memory: Memory
    """On one device, `micro_batch` rows (one where none fits) at once, nothing shared."""
    memory_per_device: int
    """The same with states shared by all devices."""
    key_value_memory: int
    """Of one text as long as the context, in fp32."""
    hardware: str
    devices: int
    utilisation: float
    seconds: float
    kilowatt_hours: float | None
    price: float | None
    reasons: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"memory": self.memory.as_dict()}


def make_plan(
    config: DecoderConfig,
    hardware: Hardware,
    devices: int = 1,
    tokens: int | None = None,
    batch: int = 16,
    utilisation: float | None = None,
    price_per_hour: float | None = None,
    watts: float | None = None,
    optimizer: Optimizer = "muon",
    precision: Precision = "bf16",
    tokens_per_second: float | None = None,
) -> Plan:
    """The plan of training `config` on `devices` of `hardware`.

    Args:
        tokens: to train on; None takes 20 a parameter.
        batch: rows per step, over all devices.
        utilisation: share of the peak rate that training reaches, operations counted with attention; None takes 0.4.
        tokens_per_second: as measured, over all devices; utilisation then follows from it.
        price_per_hour, watts: of one device; None takes those the hardware is listed with.

    Raises:
        UserError: a number that can't be.
    """
    if utilisation is not None and not 0 < utilisation <= 1:
        raise UserError(f"--utilisation {utilisation} is not a share of the peak: give a number above 0, up to 1.")
    if batch % devices:
        raise UserError(
            f"A batch of {batch} rows does not divide over {devices} devices: make it a multiple of {devices}."
        )
    given_tokens, tokens = tokens, tokens or TOKENS_PER_PARAMETER * config.parameters()
    plain, attention = plain_flops_per_token(config), attention_flops_per_token(config)
    measured = tokens_per_second is not None and utilisation is None
    if tokens_per_second is not None and measured:
        utilisation = (plain + attention) * tokens_per_second / (devices * hardware.flops)
    utilisation = utilisation or UTILISATION
    seconds = (plain + attention) * tokens / (devices * hardware.flops * utilisation)
    rows = batch // devices
    fitting = largest_batch(config, hardware.memory, None, optimizer, precision, devices)
    micro_batch = max((size for size in range(1, rows + 1) if rows % size == 0 and size <= fitting), default=0)
    memory = training_memory(config, max(1, micro_batch), None, optimizer, precision)
    watts = watts or hardware.watts
    price_per_hour = hardware.price_per_hour if price_per_hour is None else price_per_hour
    hours = devices * seconds / 3600
    energy = None if watts is None else hours * watts * (1.0 if hardware.name == THIS else OVERHEAD) / 1000
    money = None if energy is None or hardware.name != THIS else energy * ELECTRICITY
    plan = Plan(
        parameters=config.parameters(),
        parameters_by_part=config.parameters_by_part(),
        context=config.context,
        tokens=tokens,
        flops_per_token=plain + attention,
        flops=(plain + attention) * tokens,
        plain_flops=plain * tokens,
        batch=batch,
        micro_batch=micro_batch,
        memory=memory,
        memory_per_device=memory.total - memory.states + memory.states // devices,
        key_value_memory=key_value_memory(config),
        hardware=hardware.name,
        devices=devices,
        utilisation=utilisation,
        seconds=seconds,
        kilowatt_hours=energy,
        price=money if price_per_hour is None else hours * price_per_hour,
        reasons=[],
    )
    plan.reasons.extend(give_reasons(plan, hardware, given_tokens is not None, measured, watts, price_per_hour))
    return plan


def give_reasons(
    plan: Plan,
    hardware: Hardware,
    tokens_given: bool,
    measured: bool,
    watts: float | None,
    price_per_hour: float | None,
) -> list[str]:
    """Why each figure is what it is, a sentence each."""
    ratio = plan.tokens / plan.parameters
    near = f"{TOKENS_PER_PARAMETER} a parameter is about the best use of a fixed amount of computing (Hoffmann et al. 2022)"
    return [
        f"Tokens: as given, {ratio:.1f} a parameter; {near}." if tokens_given else f"Tokens: none were given; {near}.",
        f"Operations: 6 a parameter and token (2 forward, 4 backward), and attention over {plan.context} positions, "
        f"which adds {100 * (plan.flops / plan.plain_flops - 1):.0f}% (Chowdhery et al. 2022, appendix B).",
        time_reason(plan, hardware, measured),
        memory_reason(plan, hardware),
        *cost_reasons(hardware, watts, price_per_hour),
    ]


def time_reason(plan: Plan, hardware: Hardware, measured: bool) -> str:
    speed = plan.tokens / plan.seconds
    rate = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
    if measured:
        return f"Time: {rate} tokens a second, by training a few steps of this shape, or of a smaller one, on this machine."
    source = "measured by matrix products just now" if hardware.name == THIS else "which the data sheet gives"
    share = f"{100 * plan.utilisation:.0f}% of the peak"
    return f"Time: {plan.devices} × {hardware.flops / 1e12:,.4g} TFLOP/s at {share}, {source}: {rate} tokens a second."


def cost_reasons(hardware: Hardware, watts: float | None, price_per_hour: float | None) -> list[str]:
    reasons = []
    if watts is not None and hardware.name == THIS:
        assumed = f", {WATTS_A_CORE:.0f} a core being assumed" if watts == hardware.watts else ""
        reasons.append(f"Energy: {watts:.0f} W{assumed}; --watts sets your own.")
    elif watts is not None:
        reasons.append(f"Energy: {watts:.0f} W a device, and {OVERHEAD} times that for the building around it.")
    if price_per_hour is not None:
        reasons.append(
            f"Money: {price_per_hour:.2f} US dollars a device and hour; --price-per-hour sets your own price."
        )
    elif watts is not None and hardware.name == THIS:
        reasons.append(f"Money: electricity alone, {ELECTRICITY:.2f} US dollars a kilowatt-hour being assumed.")
    return reasons


def memory_reason(plan: Plan, hardware: Hardware) -> str:
    shared = "" if plan.devices == 1 else f", the states shared by {plan.devices} devices"
    room = f"{plan.memory_per_device / GIB:,.1f} of {hardware.memory / GIB:,.1f} GiB a device{shared}"
    if plan.micro_batch == 0:
        return f"Memory: it does not fit: one row at a time takes {room}; take more devices, or a smaller model or context."
    accumulation = plan.batch // plan.devices // plan.micro_batch
    steps = "" if accumulation == 1 else f", {accumulation} times a step"
    return f"Memory: it fits: rows computed at once {plan.micro_batch}{steps}, taking {room}."
