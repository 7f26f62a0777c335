"""The notebooks: they run from the first cell to the last, rest without outputs, and are the same in both languages."""

import json
import os
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*/*.ipynb"))
NAMES = [f"{path.parent.name}/{path.name}" for path in NOTEBOOKS]


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    """The cells of a kind, as they rest in the file."""
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def sources(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path, kind)]


def test_every_notebook_is_there_in_both_languages() -> None:
    english, portuguese = (
        [path.name for path in NOTEBOOKS if path.parent.name == language] for language in ("en", "pt")
    )
    assert english == portuguese == ["1_next_token.ipynb", "2_draw.ipynb", "3_one_step.ipynb", "4_gradients.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_outputs_are_stripped(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None and cell["metadata"] == {}


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS if path.parent.name == "en"])
def test_both_languages_have_the_same_code(name: str) -> None:
    """The first cell names the language; all the others are equal, and so is the order of prose and code."""
    kinds = {}
    for language in ("en", "pt"):
        first, *rest = sources(FOLDER / language / name, "code")
        assert first == f'language = "{language}"'
        order = [
            cell["cell_type"] for cell in json.loads((FOLDER / language / name).read_text(encoding="utf-8"))["cells"]
        ]
        kinds[language] = (rest, order)
    assert kinds["en"] == kinds["pt"]


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS if path.parent.name == "en"])
def test_both_languages_cite_the_same_places_of_the_book(name: str) -> None:
    cited = []
    for language in ("en", "pt"):
        prose = " ".join(sources(FOLDER / language / name, "markdown"))
        cited.append(re.findall(r"\b\d+(?:\.\d+)+\b", re.sub(r"(\d),(\d)", r"\1.\2", prose)))
        assert "M. Galvão, *Conversa entre o Sol e Plutão*, v1.5 (2024)" in prose
    assert cited[0] == cited[1]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Python kernel for all notebooks, on one thread: starting it costs more than most notebooks do."""
    reason = 'notebooks are run with nbclient and ipykernel: pip install -e ".[notebooks]"'
    pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    from jupyter_client.manager import KernelManager

    folder = tmp_path_factory.mktemp("kernel")
    manager = KernelManager(kernel_name="python3", connection_file=str(folder / "kernel.json"))
    environment = {"OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / "ipython")}
    manager.start_kernel(env=os.environ | environment, cwd=str(folder))
    yield manager
    manager.shutdown_kernel(now=True)


def executed(path: Path, kernel: Any) -> list[dict[str, Any]]:
    """The outputs of a notebook's cells, in order; a cell that fails raises. It finds no names of the notebook before."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    NotebookClient(notebook, km=kernel, timeout=120).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def shown(outputs: list[dict[str, Any]]) -> str:
    """What a reader sees beside the pictures: printed lines, and tables without their tags."""
    pieces = []
    for output in outputs:
        data = output.get("data", {})
        pieces.append(output.get("text", "") + data.get("text/html", ""))
    return unescape(re.sub(r"<[^>]+>", " ", "\n".join(pieces)))


FIGURES = {"1_next_token.ipynb": 4, "2_draw.ipynb": 4, "3_one_step.ipynb": 3, "4_gradients.ipynb": 3}
SEEN = {
    "en": {
        "1_next_token.ipynb": "Rank 1:",
        "2_draw.ipynb": "by the chain rule",
        "3_one_step.ipynb": "One neuron",
        "4_gradients.ipynb": "by distance",
    },
    "pt": {
        "1_next_token.ipynb": "Posição 1:",
        "2_draw.ipynb": "regra da cadeia",
        "3_one_step.ipynb": "Um neurônio",
        "4_gradients.ipynb": "por distância",
    },
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_and_shows_its_figures(path: Path, kernel: Any) -> None:
    outputs = executed(path, kernel)
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
    pictures = [output for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert len(pictures) == FIGURES[path.name]
    text = shown(outputs)
    assert SEEN[path.parent.name][path.name] in text
    holds(path.name, text)


def holds(name: str, text: str) -> None:
    """What the prose around the cells says of their results."""
    if name == "1_next_token.ipynb":
        assert "A inteligência artificial é capaz de aprender" in text
    elif name == "2_draw.ipynb":
        assert re.search(r"▶\s+banco\s", text)  # the book's r = 0.65
        chances = [float(chance) for chance in re.findall(r"P = (\d\.\de-\d+)", text)]
        assert chances[0] > chances[2] > chances[1]
    elif name == "4_gradients.ipynb":
        after = {
            kind: (float(norm), float(clipped))
            for kind, norm, clipped in re.findall(r"(\w+) +x [\d.e+-]+  ([\d.e+-]+) -> ([\d.e+-]+)", text)
        }
        assert after["lstm"][0] > 1e4 * after["rnn"][0] and after["rnn_larger"][0] > 1e3 and after["rnn_larger"][1] < 1
        assert re.search(r" 60 +(?:[\d.,]+%) +(?:9\d|100)[\d.,]*%", text)
    else:
        losses = {float(times): float(after) for times, after in re.findall(r"([\d.]+) x  L = .* -> ([\d.]+)", text)}
        before = float(re.findall(r"x  L = ([\d.]+)", text)[0])
        assert losses[0.1] < before < losses[10]
        perplexities = [float(each) for each in re.findall(r"^ *(?:0|30|90): +([\d.]+)", text, re.MULTILINE)]
        assert len(perplexities) == 3 and perplexities == sorted(perplexities, reverse=True)
