"""Does full fine-tuning collapse? All weights of a model fitted to E. coli learn a fresh head's tracks.

    python benchmarks/fine_tuning.py [--steps 600] [--fine-tuning-steps 400] [--json results.json]

Users of other ports report that fine-tuning every weight of a trained model ends in flat predictions, and
suspect batch normalization: a batch of one window has other statistics than the batches that the model was
trained on. Here the pretrained model gets a head for two tracks that it has not seen (starts of genes on each
strand), everything learns at batch size 1, and the validation block is evaluated on the way, with the moving
statistics, as a served model would be. ``spread`` is the predictions' standard deviation over the measured one:
near zero is collapse.

Needs the demo's data (`make data`).
"""

import argparse
import json
import tempfile
from pathlib import Path

import keras
import numpy as np

from enformer_keras import AdamByPart, Enformer, WarmUp
from enformer_keras.genome import Dataset, WindowBatches, load_dataset

ROOT = Path(__file__).resolve().parents[1]
ECOLI = ROOT / "datasets" / "ecoli"
EVALUATIONS = 4


def gene_starts(folder: Path) -> Dataset:
    """The demo's dataset with other tracks: where genes start, by strand, widened to 256 bp."""
    lines = (ROOT / "data" / "ecoli" / "MG1655_U00096.gff3").read_text().splitlines()
    starts = []
    for line in lines:
        fields = line.split("\t")
        if len(fields) == 9 and fields[2] == "gene":
            start, end = int(fields[3]), int(fields[4])
            at = start if fields[6] == "+" else end
            fields[2:5] = ["start", str(max(at - 128, 1)), str(at + 127)]
            starts.append("\t".join(fields))
    (folder / "starts.gff3").write_text("\n".join(["##gff-version 3", *starts]) + "\n")
    columns = "index genome identifier file clip scale sum_stat description strand_pair feature strand"
    rows = [
        ["0", "ecoli", "starts_plus", "starts.gff3", "", "1", "mean", "gene starts +", "1", "start", "+"],
        ["1", "ecoli", "starts_minus", "starts.gff3", "", "1", "mean", "gene starts -", "0", "start", "-"],
    ]
    (folder / "tracks.tsv").write_text("\n".join("\t".join(row) for row in [columns.split(), *rows]) + "\n")
    description = (ECOLI / "dataset.yaml").read_text().replace("../../data", str(ROOT / "data"))
    (folder / "dataset.yaml").write_text(description)
    return load_dataset(folder / "dataset.yaml")


def pretrained(steps: int) -> Enformer:
    """The laptop's model, trained on the demo's four tracks."""
    batches = WindowBatches(
        load_dataset(ECOLI / "dataset.yaml"),
        "train",
        4,
        shuffle=True,
        max_shift=3,
        reverse_complement=True,
        repeat=True,
    )
    model = Enformer.from_preset("laptop", heads={"ecoli": 4})
    head = model.head_model("ecoli")
    schedule = WarmUp(1e-3, steps // 6, steps - steps // 6)
    head.compile(keras.optimizers.Adam(schedule, global_clipnorm=0.2), loss="poisson")
    head.fit(batches, steps_per_epoch=steps, verbose=0)
    return model


def judge(model: keras.Model, x: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Mean over tracks of Pearson correlation and spread, over all bins."""
    predicted = model.predict(x, batch_size=4, verbose=0).reshape(-1, measured.shape[-1])
    measured = measured.reshape(predicted.shape)
    pairs = list(zip(predicted.T, measured.T, strict=True))
    return {
        "pearson_r": float(np.mean([np.corrcoef(p, m)[0, 1] for p, m in pairs])),
        "spread": float(np.mean([p.std() / m.std() for p, m in pairs])),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600, help="of pretraining, at batch size 4")
    parser.add_argument("--fine-tuning-steps", type=int, default=400, help="at batch size 1")
    parser.add_argument("--json", type=Path, help="write every figure here")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = pretrained(arguments.steps)
    part = arguments.fine_tuning_steps // EVALUATIONS
    with tempfile.TemporaryDirectory() as folder:
        dataset = gene_starts(Path(folder))
        x, measured = (
            np.concatenate(arrays) for arrays in zip(*WindowBatches(dataset, "valid", 4), strict=True)
        )
        recipes = {
            "all weights, batch statistics": (False, keras.optimizers.Adam(5e-4, global_clipnorm=0.2)),
            "all weights, frozen statistics": (True, keras.optimizers.Adam(5e-4, global_clipnorm=0.2)),
            "trunk at a tenth, frozen statistics": (
                True,
                AdamByPart(
                    2e-3,
                    dict.fromkeys(("stem", "tower", "transformer", "final_pointwise"), 0.1),
                    global_clipnorm=0.2,
                ),
            ),
        }
        results = {}
        print("| recipe | step | Pearson r | spread |\n|---|---|---|---|")
        for recipe, (frozen_statistics, optimizer) in recipes.items():
            batches = WindowBatches(
                dataset, "train", 1, shuffle=True, max_shift=3, reverse_complement=True, repeat=True
            )
            tuned = model.with_heads({"starts": 2}).with_frozen_statistics(frozen_statistics)
            head = tuned.head_model("starts")
            head.compile(optimizer, loss="poisson")
            results[recipe] = [{"step": 0, **judge(head, x, measured)}]
            for turn in range(EVALUATIONS):
                head.fit(batches, steps_per_epoch=part, verbose=0)
                results[recipe].append({"step": (turn + 1) * part, **judge(head, x, measured)})
            for row in results[recipe]:
                print(
                    f"| {recipe} | {row['step']} | {row['pearson_r']:.3f} | {row['spread']:.2f} |", flush=True
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
