"""Training in less than float32: averages stay exact, and so do landmarks and metrics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from renderer.strict import override
from trainer.data.sources import BadSamples, open_source
from trainer.systems import runs
from trainer.systems.uvnet.system import UVNetSystem, UVTask
from trainer.training import checks, session
from trainer.training.checkpoint import checkpoints, load_checkpoint, read_weights
from trainer.training.run_dir import RunDir
from trainer.training.schedules import Moment
from trainer.training.state import make_average, update_average
from trainer.training.validation import evaluate, in_evaluation_mode


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_average_moves_by_its_decay_and_is_float32_in_every_precision(dtype):
    network = nn.Linear(1, 1).to(dtype)
    with torch.no_grad():
        network.weight.fill_(1.0)
    average = make_average(network)
    expected = 1.0
    for step in range(500):
        with torch.no_grad():
            network.weight.fill_(1.0 + step % 2)
        update_average(average, network, 0.999, step)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (1 + step % 2)
    assert average.weight.dtype == torch.float32 and network.weight.dtype == dtype
    assert float(average.weight) == pytest.approx(expected, abs=1e-5) and 1.3 < expected < 1.7


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_a_run_in_half_precision_with_muon_average_and_clipping_learns_and_resumes_bit_equal(config, precision):
    changes = {
        "device.precision": precision, "schedule.optimiser": "muon", "schedule.grad_clip": 0.5, "schedule.ema": 0.9,
        "schedule.max_samples": 320, "output.checkpoint_steps": 10, "output.keep_checkpoints": 9,
    }  # fmt: skip
    run = RunDir(runs.train(override(config, changes, "test")).run)
    losses = [line["loss"] for line in run.lines() if line["kind"] == "test"]
    assert losses[-1] < 0.9 * losses[0]
    stored = load_checkpoint(checkpoints(run.checkpoints)[-1], config)
    dtypes = {part: {t.dtype for t in stored[part]["network"].values()} for part in ("modules", "averages")}
    trained = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert dtypes == {"modules": {trained}, "averages": {torch.float32}}
    tensors = read_weights(run.weights)[0]
    assert any(not torch.equal(t, t.bfloat16().float()) for t in tensors.values())  # not rounded anywhere
    assert runs.resume(run.path, "10").state == "finished"
    assert all(torch.equal(read_weights(run.weights)[0][name], t) for name, t in tensors.items())


class Truth(nn.Module):
    """Answers with the targets of the samples, in the precision that the training computes in."""

    def __init__(self, task: UVTask, batches: list) -> None:
        super().__init__()
        self.answers = iter([task.test_samples(b, False) for b in batches])
        self.defaults: set[torch.dtype] = set()

    def forward(self, picture: Tensor) -> Tensor:
        self.defaults.add(torch.get_default_dtype())
        target = next(self.answers)
        return torch.cat([target.uv, target.mask, target.occluded_mask], 1)


def test_metrics_are_computed_in_float32_whatever_the_network_computes_in(config, tmp_path, synthetic):
    path = synthetic.write_dataset(tmp_path / "large", 6, size=128)
    config = override(config, {"data.path": str(path), "augment.occlusion.enabled": False}, "test")
    system = UVNetSystem()
    reader = checks.open_reader(config, system)
    positions = torch.arange(6).numpy()
    source = open_source(reader, positions, "none", 0, BadSamples(0), torch.device("cpu"))
    task = system.build(config, reader, torch.device("cpu"), training=False)
    found = []
    for precision in ("32-true", "bf16-true"):
        truth = Truth(task, list(source.batches([positions], 0)))
        autocast = session.make_fabric(override(config, {"device.precision": precision}, "test")).autocast
        with in_evaluation_mode({"network": truth}, autocast) as modules:
            found.append(evaluate(modules, task, source, positions, 6, "test", Moment()).metrics)
        assert truth.defaults == {torch.float32 if precision == "32-true" else torch.bfloat16}
    assert found[0] == found[1] and found[0]["landmark_nme"] < 0.002
