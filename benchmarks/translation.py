"""Translation: RNN, RNN with attention, the Transformer of 2017, and Joey NMT's Transformer, each trained for the same time.

    python benchmarks/translation.py --minutes 30 --threads 2                 French to English, all four, kept in docs/bench.json
    python benchmarks/translation.py --pair pt-en --minutes 30 --threads 2    Portuguese to English
    python benchmarks/translation.py --only transformer --minutes 0.2 --set translation.test=50

Same pairs, same vocabulary, same test sentences; BLEU and chrF by sacrebleu with intervals. A system that is done is not
trained again (--again does); one that was stopped goes on from its last checkpoint (Joey NMT begins again). Joey NMT is
installed into a Python environment of its own in --folder, which shares this one's PyTorch.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plutao import project as projects
from plutao.data.pairs import Split
from plutao.evaluate.translation import in_json, scores
from plutao.recipe.ancestors import TranslationSettings
from plutao.stages.translation import encode, make_tokenizer, read, settings_of
from plutao.text.tokenizer import Tokenizer
from run import RESULT, keep

RECIPES = {"fr-en": "traducao-fr-en", "pt-en": "traducao-pt-en"}
SHAPES = {  # of about 8 million parameters each
    "rnn": ["kind=rnn", "layers=2", "width=384"],
    "attention": ["kind=attention", "layers=1", "width=384"],
    "transformer": ["kind=transformer", "layers=3", "width=256", "heads=8"],
}
SYSTEMS = [*SHAPES, "joeynmt"]
ORDER = [("rnn", "attention"), ("attention", "transformer"), ("joeynmt", "transformer")]
JOEY = [
    *(
        "joeynmt==2.3.0",
        "importlib_metadata<9",
        "zipp",
        "pyyaml",
        "sacremoses",
        "subword-nmt",
        "sentencepiece",
        "tensorboard",
    ),
    *("matplotlib", "contourpy", "cycler", "fonttools", "kiwisolver", "pillow", "pyparsing", "python-dateutil"),
]
WARM_UP = 400  # updates, of Joey NMT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", choices=list(RECIPES), default="fr-en")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", action="append", choices=SYSTEMS, help="may be given several times")
    parser.add_argument("--again", action="store_true", help="train anew what is done already")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of our recipe, as translation.test=50"
    )
    parser.add_argument("--folder", type=Path, help="where everything is kept")
    parser.add_argument("--joey", type=Path, help="a Python that has Joey NMT; left out: one is made")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and do not keep it")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.gettempdir()) / "plutao-bench" / "translation"
    place = folder / f"{arguments.pair}-{arguments.minutes:g}"
    found: dict[str, Any] = {}
    for system in SYSTEMS:
        path = place / f"{system}.json"
        wanted = system in (arguments.only or SYSTEMS)
        if wanted and (arguments.again or not path.is_file()):
            result = joeynmt(folder, place, arguments) if system == "joeynmt" else ours(system, place, arguments)
            path.write_text(json.dumps(result, ensure_ascii=False, indent=2))
        if path.is_file():
            found[system] = json.loads(path.read_text())
            tell(system, found[system])
            row = {
                "pair": arguments.pair,
                "minutes": arguments.minutes,
                "systems": found,
                "differences": differences(place),
            }
            if wanted and not arguments.json:
                keep(f"translation {arguments.pair}, {arguments.minutes:g} minutes", row, RESULT)
    if arguments.json:
        print(json.dumps({**row, "threads": arguments.threads}, ensure_ascii=False, indent=2))
    for name, told in differences(place).items():
        print(f"  {name}: {told['value']:+.1f} BLEU ({told['low']:+.1f} to {told['high']:+.1f})", file=sys.stderr)


def overrides(system: str, arguments: argparse.Namespace) -> list[str]:
    own = [f"translation.{each}" for each in SHAPES[system]]
    return [*own, f"translation.minutes={arguments.minutes:g}", *arguments.set]


def environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "2000"}


# ---------------------------------------------------------------------------------------------------------------- our side


def ours(system: str, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """`plutao run` for so many minutes; what its card says."""
    root = place / system
    if not (root / projects.RECIPE_FILE).is_file():
        projects.create(root, RECIPES[arguments.pair])
    if arguments.again:
        shutil.rmtree(root / "runs", ignore_errors=True)
    command = [sys.executable, "-m", "plutao", "run", str(root)]
    for each in overrides(system, arguments):
        command += ["--set", each]
    subprocess.run(command, check=True, env=environment(arguments.threads), stdout=sys.stderr)
    stage = root / "runs" / projects.current_run(root) / "translation"
    card = json.loads((stage / "stage.json").read_text())
    rows = [json.loads(line) for line in (stage / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    write_translations(place, system, [row["translation"] for row in rows], [row["reference"] for row in rows])
    told = ("parameters", "steps", "tokens", "tokens_per_second", "seconds", "epochs", "precision")
    quality = {name: card["translation"][name] for name in ("bleu", "chrf", "by_source")}
    return (
        {name: card[name] for name in told}
        | {"threads": arguments.threads}
        | quality
        | {"validation": card["validation"]}
    )


def write_translations(place: Path, system: str, translations: Sequence[str], references: Sequence[str]) -> None:
    rows = zip(translations, references, strict=True)
    text = "".join(json.dumps(list(row), ensure_ascii=False) + "\n" for row in rows)
    (place / f"{system}.jsonl").write_text(text, encoding="utf-8")


# -------------------------------------------------------------------------------------------------------------- their side


def joeynmt(folder: Path, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Joey NMT's Transformer of the same shape, with the same optimizer, schedule, dropout, smoothing, batch and beam."""
    root = place / "joeynmt"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    projects.create(root, RECIPES[arguments.pair])
    project = projects.open_project(root, tuple(overrides("transformer", arguments)))
    settings = settings_of(project.recipe)
    parts = read(settings, root, project.recipe.seed).parts
    tokenizer = make_tokenizer(parts.train, settings.vocabulary)
    write_text_of_joey(root, parts, tokenizer, settings)
    (root / "config.yaml").write_text(json.dumps(config_of_joey(root, settings)))  # JSON is YAML
    python = arguments.joey or joey_python(folder / "joeynmt-python")
    command = [
        *(
            str(python),
            str(Path(__file__).with_name("joey.py")),
            str(root / "config.yaml"),
            str(60 * arguments.minutes),
        ),
        *(str(root / "test.src"), str(root / "translations")),
    ]
    subprocess.run(command, check=True, env=environment(arguments.threads), stdout=sys.stderr)
    lines = (root / "translations").read_text(encoding="utf-8").splitlines()
    found = [tokenizer.decode([int(each) for each in line.split() if each.isdigit()]) for line in lines]
    references = [pair.target for pair in parts.test]
    write_translations(place, "joeynmt", found, references)
    trained = json.loads((root / "translations.json").read_text())
    trained["tokens_per_second"] = round(trained["tokens"] / trained["seconds"], 1)
    return {**trained, "precision": "fp32", **in_json(scores(found, references))}


def write_text_of_joey(root: Path, parts: Split, tokenizer: Tokenizer, settings: TranslationSettings) -> None:
    """The same pairs cut by the same tokenizer; each token is written as its number, a word to Joey NMT."""
    for name, pairs in (("train", parts.train), ("dev", parts.validation), ("test", parts.test)):
        encoded = encode(tokenizer, pairs, settings.longest if name == "train" else None)
        for side, suffix in enumerate(("src", "trg")):
            text = "".join(" ".join(map(str, pair[side])) + "\n" for pair in encoded)
            (root / f"{name}.{suffix}").write_text(text)
    (root / "vocabulary").write_text("".join(f"{number}\n" for number in range(tokenizer.vocabulary_size)))


def config_of_joey(root: Path, settings: TranslationSettings) -> dict[str, Any]:
    side = {
        "level": "word",
        "lowercase": False,
        "voc_file": str(root / "vocabulary"),
        "max_length": settings.longest + 1,
    }
    width, hidden = settings.width, settings.hidden or 4 * settings.width
    stack = {
        "type": "transformer",
        "num_layers": settings.layers,
        "num_heads": settings.heads,
        "embeddings": {"embedding_dim": width, "scale": True, "dropout": 0.0},
        "hidden_size": width,
        "ff_size": hidden,
        "dropout": settings.dropout,
        "layer_norm": "post",
    }
    return {
        "name": "translation",
        "joeynmt_version": "2.3.0",
        "model_dir": str(root / "model"),
        "use_cuda": False,
        "random_seed": 1,
        "data": {
            **{name: str(root / name) for name in ("train", "dev", "test")},
            "dataset_type": "plain",
            "src": {"lang": "src", **side},
            "trg": {"lang": "trg", **side},
        },
        "testing": {
            "beam_size": settings.beam,
            "beam_alpha": settings.length_penalty,
            "batch_size": 1024,
            "batch_type": "token",
        },
        "training": {
            "optimizer": "adamw",
            "adam_betas": list(settings.optimizer.betas),
            "scheduling": "warmupinversesquareroot",
            "learning_rate": settings.optimizer.learning_rate,
            "learning_rate_warmup": WARM_UP,
            "learning_rate_min": 0.0,
            "clip_grad_norm": settings.optimizer.clip,
            "label_smoothing": settings.label_smoothing,
            "loss": "crossentropy",
            "normalization": "tokens",
            "batch_type": "token",
            "batch_size": settings.batch // 2,  # Joey NMT counts the longer of the two sides
            "epochs": 10**6,
            "validation_freq": 10**9,  # the clock ends the training; the last model counts, as on our side
            "logging_freq": 100,
            "early_stopping_metric": "loss",
            "shuffle": True,
            "overwrite": True,
        },
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": stack,
            "decoder": stack,
        },
    }


def joey_python(folder: Path) -> Path:
    """A Python environment with Joey NMT: its own packages, and beneath them those of this one, PyTorch among them."""
    python = folder / "bin" / "python"
    if (
        subprocess.run([str(python), "-c", "import joeynmt.training"], capture_output=True).returncode
        if python.exists()
        else True
    ):
        print(f"Installing Joey NMT into {folder} …", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        inside = next((folder / "lib").glob("python*")) / "site-packages"
        (inside / "shared.pth").write_text(f"{Path(np.__file__).parent.parent}\n")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", *JOEY], check=True)
    return python


# ---------------------------------------------------------------------------------------------------------------- together


def differences(place: Path, samples: int = 1000) -> dict[str, Any]:
    """How much more BLEU the second of two systems has, with the interval of the paired bootstrap (Koehn 2004): the same
    sentences are drawn for both.
    """
    from sacrebleu.metrics.bleu import BLEU

    random, found = np.random.default_rng(1), {}
    for one, other in ORDER:
        paths = [place / f"{name}.jsonl" for name in (one, other)]
        if not all(path.is_file() for path in paths):
            continue
        both = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths]
        statistics = [np.array(BLEU()._extract_corpus_statistics(*columns(rows))) for rows in both]
        whole = [BLEU()._compute_score_from_stats(each.sum(axis=0).tolist()).score for each in statistics]
        gaps = []
        for _ in range(samples):
            drawn = random.integers(0, len(statistics[0]), len(statistics[0]))
            sums = [BLEU()._compute_score_from_stats(each[drawn].sum(axis=0).tolist()).score for each in statistics]
            gaps.append(sums[1] - sums[0])
        low, high = np.quantile(gaps, [0.025, 0.975])
        found[f"{other} − {one}"] = {"value": whole[1] - whole[0], "low": float(low), "high": float(high)}
    return found


def columns(rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    return [row[0] for row in rows], [[row[1] for row in rows]]


def tell(system: str, result: dict[str, Any]) -> None:
    bleu, chrf = result["bleu"], result["chrf"]
    print(
        f"  {system}: BLEU {bleu['value']:.1f} ({bleu['low']:.1f}–{bleu['high']:.1f}), chrF {chrf['value']:.1f} "
        f"({chrf['low']:.1f}–{chrf['high']:.1f}) on {bleu['n']:,} sentences; {result['parameters'] / 1e6:.1f}M parameters, "
        f"{result['tokens'] / 1e6:.2f}M target tokens in {result['seconds']:.0f} s ({result['tokens_per_second']:,.0f} a second)",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    main()
