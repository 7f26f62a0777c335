"""The loop learns, survives, and goes on exactly where it was."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import CPU, Counting, tiny_model, train

from plutao.data.pack import Batch
from plutao.errors import Interrupted, UserError
from plutao.recipe import OptimizerSettings, TrainSettings
from plutao.train import checkpoint
from plutao.train.budget import Budget
from plutao.train.device import Device
from plutao.train.loop import Ended, fit
from plutao.train.objectives import next_token


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_it_learns_to_count(tmp_path: Path, kind: str) -> None:
    trained = train(tiny_model(), tmp_path, 80, optimizer=OptimizerSettings(kind=kind, learning_rate=1e-2))
    losses = [line["loss"] for line in lines(tmp_path) if "loss" in line]
    assert losses[0] == pytest.approx(4.16, abs=0.2)  # ln 64: at first every token is as likely as another
    assert trained.loss < 0.1
    assert trained.tokens == 80 * 8 * 16


def test_dropout_learns_too_and_resumes_with_its_random_numbers(tmp_path: Path) -> None:
    whole, parts = tiny_model(dropout=0.2), tiny_model(dropout=0.2)
    torch.manual_seed(5)
    train(whole, tmp_path / "whole", 20)
    torch.manual_seed(5)
    stop_at(parts, tmp_path / "parts", 20, 9)
    torch.manual_seed(99)  # another process starts with other random numbers
    train(parts, tmp_path / "parts", 20)
    assert equal(whole, parts)


def stop_at(model: Any, out: Path, steps: int, at: int) -> None:
    """Trains until a Ctrl-C during step `at`."""

    class Impatient(Counting):
        def __next__(self) -> Any:
            if self.step == at - 1:
                signal.raise_signal(signal.SIGINT)
            return super().__next__()

    with pytest.raises(Interrupted, match=f"step {at} of {steps}"):
        train(model, out, steps, Impatient())


def test_interrupted_and_resumed_is_the_same_as_never_stopped(tmp_path: Path) -> None:
    whole, parts = tiny_model(), tiny_model()
    train(whole, tmp_path / "whole", 30)
    stop_at(parts, tmp_path / "parts", 30, 11)
    fresh = tiny_model(seed=7)  # a new process knows nothing of the weights
    train(fresh, tmp_path / "parts", 30)
    assert equal(whole, fresh)
    assert [line["step"] for line in lines(tmp_path / "parts")] == sorted(
        line["step"] for line in lines(tmp_path / "parts")
    )


def test_a_killed_process_loses_only_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        import torch
        torch.set_num_threads(1)
        from toys import Counting, tiny_model, train
        class Slow(Counting):
            def __next__(self):
                time.sleep(0.01)
                return super().__next__()
        model = tiny_model()
        train(model, Path(sys.argv[1]), 60, Slow(), checkpoint_minutes=0.002)
        torch.save(model.state_dict(), sys.argv[2])
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}

    def start(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", script, str(out), str(out.with_suffix(".pt"))]
        return subprocess.Popen(command, env=environment)

    assert start(tmp_path / "whole").wait() == 0
    killed = start(tmp_path / "killed")
    deadline = time.monotonic() + 60
    while not checkpoint.checkpoints(tmp_path / "killed" / "checkpoints") and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    assert not (tmp_path / "killed.pt").exists()
    assert start(tmp_path / "killed").wait() == 0
    whole, resumed = torch.load(tmp_path / "whole.pt"), torch.load(tmp_path / "killed.pt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    train(tiny_model(), tmp_path, 12, checkpoint_minutes=1e-9)
    newest = checkpoint.checkpoints(tmp_path / "checkpoints")[-1]
    data = bytearray((newest / "model.safetensors").read_bytes())
    data[-5] ^= 255
    (newest / "model.safetensors").write_bytes(bytes(data))
    found = checkpoint.load(tmp_path / "checkpoints")
    assert found is not None
    assert found.step == 11
    assert found.damaged == [newest.name]
    for path in checkpoint.checkpoints(tmp_path / "checkpoints"):
        (path / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"Every checkpoint.*damaged.*delete"):
        train(tiny_model(), tmp_path, 12)


def test_accumulated_pieces_give_the_gradient_of_the_whole(tmp_path: Path) -> None:
    train(tiny_model(), tmp_path / "whole", 1)
    train(tiny_model(), tmp_path / "pieces", 1, micro_batch=2)
    whole, pieces = lines(tmp_path / "whole")[0], lines(tmp_path / "pieces")[0]
    assert whole["loss"] == pytest.approx(pieces["loss"], rel=1e-6)
    assert whole["gradient_norm"] == pytest.approx(pieces["gradient_norm"], rel=1e-5)


def test_a_step_without_a_finite_loss_is_skipped_counted_and_explained(tmp_path: Path) -> None:
    settings = TrainSettings(batch=8, evaluate=0)
    model = tiny_model()
    trained = fit(model, nan_at({3, 7}), Counting(), settings, Budget(steps=20), tmp_path, CPU)
    assert trained.skipped == 2
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    events = [line["event"] for line in lines(tmp_path) if "event" in line]
    assert events == ["step skipped: the loss is nan"] * 2


def nan_at(calls: set[int]) -> Any:
    count = 0

    def objective(model: Any, batch: Any) -> Any:
        nonlocal count
        count += 1
        loss, metrics = next_token()(model, batch)
        return (loss * float("nan") if count in calls else loss), metrics

    return objective


def test_a_run_that_keeps_failing_ends_in_order(tmp_path: Path) -> None:
    settings = TrainSettings(batch=8, evaluate=0)
    with pytest.raises(UserError, match=r"25 steps in a row.*Lower base\.optimizer.learning_rate"):
        fit(tiny_model(), nan_at(set(range(5, 99))), Counting(), settings, Budget(steps=90), tmp_path / "base", CPU)
    assert checkpoint.load(tmp_path / "base" / "checkpoints") is not None


def test_what_objective_and_batches_tell_is_written_with_the_step(tmp_path: Path) -> None:
    """Means over the pieces of a batch, weighted as the loss is; what a batch brings is never left out."""

    class Telling(Counting):
        def __next__(self) -> Any:
            batch = super().__next__()
            return MeasuredBatch(batch.tokens, batch.targets, {"reward": float(self.step)})

    def objective(model: Any, batch: Any) -> Any:
        loss, _ = next_token()(model, batch)
        return loss, {"first": float(batch.tokens[:, 0].float().mean())}

    settings = TrainSettings(batch=8, micro_batch=2, evaluate=0)
    fit(tiny_model(), objective, Telling(), settings, Budget(steps=5), tmp_path, CPU)
    written = [line for line in lines(tmp_path) if "loss" in line]
    assert [line["reward"] for line in written] == [1, 2, 3, 4, 5]
    batches = Counting()
    assert [line["first"] for line in written] == [
        pytest.approx(float(next(batches).tokens[:, 0].float().mean())) for _ in range(5)
    ]


@dataclass(frozen=True)
class MeasuredBatch(Batch):
    metrics: dict[str, float]

    def split(self, rows: int) -> list[Any]:
        """Plain pieces: the numbers are the whole batch's."""
        return Batch(self.tokens, self.targets).split(rows)


def test_batches_may_end_the_training_and_say_why(tmp_path: Path) -> None:
    class Short(Counting):
        def __next__(self) -> Any:
            if self.step == 7:
                raise Ended("that was all.")
            return super().__next__()

    model = tiny_model()
    trained = train(model, tmp_path, 20, Short())
    assert (trained.steps, trained.ended) == (7, "that was all.")
    assert lines(tmp_path)[-1]["event"] == "ended early: that was all."
    again = train(tiny_model(seed=3), tmp_path, 20, Short())  # it stays ended
    assert (again.steps, again.ended) == (7, "that was all.")


def test_checkpoints_and_stops_wait_until_the_batches_are_at_rest(tmp_path: Path) -> None:
    class Fours(Counting):
        @property
        def at_rest(self) -> bool:
            return self.step % 4 == 0

        def __next__(self) -> Any:
            if self.step == 5:
                signal.raise_signal(signal.SIGINT)
            return super().__next__()

    with pytest.raises(Interrupted, match="step 8 of 20"):
        train(tiny_model(), tmp_path, 20, Fours())


def test_a_spike_is_skipped(tmp_path: Path) -> None:
    count = 0

    def spiky(model: Any, batch: Any) -> Any:
        nonlocal count
        count += 1
        loss, metrics = next_token()(model, batch)
        return (loss + 50.0 if count == 80 else loss), metrics

    trained = fit(tiny_model(), spiky, Counting(), TrainSettings(batch=8, evaluate=0), Budget(steps=90), tmp_path, CPU)
    assert trained.skipped == 1
    assert any("the loss jumped" in line.get("event", "") for line in lines(tmp_path))


def test_a_training_given_minutes_ends_in_them(tmp_path: Path) -> None:
    settings = TrainSettings(batch=8, evaluate=2)
    started = time.monotonic()
    trained = fit(
        tiny_model(),
        next_token(),
        Counting(),
        settings,
        Budget(seconds=4),
        tmp_path,
        CPU,
        evaluate=lambda model: {"loss": 1.0},
    )
    assert trained.steps > 20
    assert time.monotonic() - started == pytest.approx(4, abs=2)


def test_trying_the_speed_changes_nothing(tmp_path: Path) -> None:
    timed, counted = tiny_model(), tiny_model()
    trained = fit(
        timed, next_token(), Counting(), TrainSettings(batch=8, evaluate=0), Budget(seconds=1), tmp_path / "timed", CPU
    )
    first = next(line for line in lines(tmp_path / "timed") if "loss" in line)
    train(counted, tmp_path / "counted", trained.steps)
    assert first["loss"] == next(line for line in lines(tmp_path / "counted") if "loss" in line)["loss"]


def test_looks_come_at_their_shares(tmp_path: Path) -> None:
    settings = TrainSettings(batch=8, evaluate=3, sample_at=(0.0, 0.5, 1.0))
    samples = [{"prompt": "a", "text": "b"}]
    fit(
        tiny_model(),
        next_token(),
        Counting(),
        settings,
        Budget(steps=40),
        tmp_path,
        CPU,
        evaluate=lambda model: {"loss": 2.0, "bits_per_byte": 3.0},
        sample=lambda model: samples,
    )
    assert [line["step"] for line in lines(tmp_path) if "validation" in line] == [10, 20, 30]
    assert [line["step"] for line in lines(tmp_path) if "samples" in line] == [0, 20, 40]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Data parallelism over gloo: the same losses as one process with the whole batch."""
    script = tmp_path / "both.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys
            from pathlib import Path
            import torch
            torch.set_num_threads(1)
            from toys import CPU, Counting, tiny_model
            from plutao.recipe import TrainSettings
            from plutao.train import parallel
            from plutao.train.budget import Budget
            from plutao.train.loop import fit
            from plutao.train.objectives import next_token
            world = parallel.join()
            model = tiny_model(seed=world.rank)  # only the first one's weights count
            settings = TrainSettings(batch=8, evaluate=0)
            trained = fit(model, next_token(), Counting(rank=world.rank, world=world.size), settings, Budget(steps=6),
                          Path(sys.argv[1]), CPU, world=world)
            if world.first:
                torch.save([trained.loss, trained.tokens, model.state_dict()], sys.argv[2])
            parallel.leave(world)
            sys.stdout.flush()
            os._exit(0)  # as the command line does
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    for command, name in [([sys.executable, str(script)], "one"), (launch, "two")]:
        subprocess.run(
            [*command, str(tmp_path / name), str(tmp_path / f"{name}.pt")], env=environment, check=True, timeout=120
        )
    one, two = torch.load(tmp_path / "one.pt"), torch.load(tmp_path / "two.pt")
    assert one[0] == pytest.approx(two[0], abs=1e-4)
    assert one[1] == two[1]
    for name in one[2]:
        torch.testing.assert_close(one[2][name], two[2][name], atol=2e-3, rtol=1e-2)  # Muon computes in bf16


@pytest.mark.compiler
def test_nothing_is_compiled_again_after_the_first_steps(tmp_path: Path) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    device = Device("cpu", 0, "fp32", True, "a test")
    frames: list[int] = []

    class Watching(Counting):
        def __next__(self) -> Any:
            frames.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
            return super().__next__()

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return {"loss": float(model(torch.zeros(3, 5, dtype=torch.long)).sum())}

    settings = TrainSettings(batch=8, evaluate=3)
    fit(tiny_model(), next_token(), Watching(), settings, Budget(steps=12), tmp_path, device, evaluate=evaluate)
    assert frames[0] == 0
    assert frames[2] > 0
    assert frames[2] == frames[-1]


@pytest.mark.compiler
def test_compiled_blocks_learn_the_same(tmp_path: Path) -> None:
    device = Device("cpu", 0, "fp32", True, "a test")
    a = train(tiny_model(), tmp_path / "eager", 10)
    b = train(tiny_model(), tmp_path / "compiled", 10, device=device)
    assert a.loss == pytest.approx(b.loss, abs=1e-3)


def test_what_is_measured_afterwards_is_taken_off_the_time() -> None:
    budget = Budget(seconds=100, measured_tokens=30_000)
    assert budget.for_training(tokens_per_second=1000) == pytest.approx(85)
    assert Budget(seconds=100).for_training(1000) == 100


def test_in_a_short_time_looks_on_the_way_take_a_tenth_of_it_at_most(tmp_path: Path) -> None:
    def slow(_: Any) -> dict[str, float]:
        time.sleep(0.15)
        return {"loss": 1.0}

    settings = TrainSettings(batch=8, evaluate=8)
    fit(tiny_model(), next_token(), Counting(), settings, Budget(seconds=3), tmp_path, CPU, evaluate=slow)
    assert 1 <= sum("validation" in line for line in lines(tmp_path)) <= 2
    fit(tiny_model(), next_token(), Counting(), settings, Budget(steps=16), tmp_path / "b", CPU, evaluate=slow)
    assert sum("validation" in line for line in lines(tmp_path / "b")) == 8


def test_metrics_go_to_tensorboard_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_model(), tmp_path, 3, sinks=("tensorboard",))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = {line["step"]: line["loss"] for line in lines(tmp_path) if "loss" in line}
    assert {event.step: pytest.approx(event.value, rel=1e-5) for event in events.Scalars("loss")} == logged
