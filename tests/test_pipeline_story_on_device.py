# SPDX-License-Identifier: Apache-2.0
"""`python -m bench pipeline --backend cuda`: the story, told on a GPU."""

import io
import json

import numpy as np
import pytest

import device_numbers
from bench import __main__ as bench
from bench import cuda
from bench.pipeline import command, devices, embeddings, peers, report, story, timing
from bench.pipeline.data import Part, Split, split
from bench.pipeline.devices import CPU, Device
from bench.pipeline.networks import MLP
from bench.pipeline.progress import Progress
from bench.pipeline.recipes import Effort, Recipe
from bench.pipeline.schemes import FEW_BITS, FP16, W8A8
from bench.pipeline.story import FP32, SCALED, Found, again_name
from ptx_backend import PtxBackend

GPU = Device("cupy", device_numbers.asarray)
TINY = Effort(seeds=1, epochs=0.01, regimes=1, quick=True, workers=1)


class Small(MLP):
    def __init__(self, generator):
        super().__init__(generator, 8)


def few(seed, device=CPU):
    whole = split(seed, device)
    parts = (whole.train, 64), (whole.calibration, 20), (whole.test, 30)
    return Split(*(Part(part.x[:count], part.y[:count]) for part, count in parts))


RECIPES = {Small: Recipe(25, 2e-3, (FP16, W8A8[1], FEW_BITS[0]), again=1, unscaled=False)}


@pytest.fixture(autouse=True)
def only_a_small_part(monkeypatch):
    for module in (story, report):
        monkeypatch.setattr(module, "RECIPES", RECIPES)
    monkeypatch.setattr(story, "MLP", Small)
    monkeypatch.setattr(story, "split", few)
    monkeypatch.setattr(peers, "torch_of", lambda network, int8: None)
    monkeypatch.setattr(story, "FULL", TINY)
    monkeypatch.setattr(story, "WEIGHTS", (1.0,))
    monkeypatch.setattr(command, "FULL", TINY)
    monkeypatch.setattr(command, "QUICK", TINY)
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(embeddings, "run", lambda quick, progress, rows, device: rows)


def test_the_story_is_told_on_a_gpu(nvrtc):
    found = Found()
    with device_numbers.made_by(PtxBackend(80)):
        effort = story.replace(TINY, device=GPU)
        story.tell(effort, Progress({}, io.StringIO()), found)
    assert found.complete
    rows = {scheme: row for (_, scheme), row in found.rows.items()}
    assert {FP32, SCALED, "FP16", W8A8[1].name, again_name(FEW_BITS[0], "LSQ")} <= rows.keys()
    integers = [row for row in rows.values() if row.same_bits is not None]
    assert len(integers) == 4
    assert all(row.same_bits for row in integers)
    assert rows["FP16"].of_bound < 1
    text = report.markdown(found, {"gpu": "a GPU"}, [])
    assert "a GPU. Digits" in text
    assert "| cupy FP32 |" in text


def test_without_a_gpu_it_says_so_and_fails(monkeypatch):
    monkeypatch.setattr(cuda, "missing_gpu", lambda: "there is no GPU here")
    with pytest.raises(SystemExit, match="there is no GPU here"):
        bench.main(["pipeline", "--backend", "cuda"])


def test_a_record_of_a_gpu_is_a_folder_of_its_own(tmp_path, monkeypatch):
    """A GPU that is the CPU after all."""
    monkeypatch.setattr(cuda, "missing_gpu", lambda: "")
    monkeypatch.setattr(cuda, "name", lambda: "a GPU")
    monkeypatch.setattr(devices, "gpu", lambda: Device("cupy", np.asarray))
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "into_readme", lambda lines: pytest.fail("README was written"))
    assert bench.main(["pipeline", "--backend", "cuda", "--record"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline-cuda"]
    record = json.loads((tmp_path / "pipeline-cuda" / "results.json").read_text())
    assert record["machine"]["gpu"] == "a GPU"
    assert record["library"] == "cupy"
