"""Flip bytes and cut files of saved models at random, and see that loading either refuses in one sentence or changes nothing.

    python scripts/damage_models.py [--tries 600] [--seed 0]

Every kind of model is saved once; each try damages one byte, or the length, of one file of it in a process that goes on: a crash of
MXNet's parser would end the script.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import nnmf
from nnmf.errors import NnmfError


def damage(whole: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one flipped, cut off somewhere, or with some appended."""
    at = int(rng.integers(len(whole)))
    how = rng.integers(10)
    if how < 6:
        return whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :]
    return whole[:at] if how < 9 else whole + bytes(rng.integers(0, 256, 1 + at % 9, dtype=np.uint8))


def attempt(
    folder: Path, file: Path, content: bytes, expected: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]
) -> str:
    """What loading a damaged folder came to: "refused", "right", or what is wrong."""
    whole = file.read_bytes()
    file.write_bytes(content)
    try:
        answer = nnmf.load(folder).predict(*pairs)
        return "right" if np.array_equal(answer, expected) else f"WRONG ANSWER: {file.name}"
    except NnmfError as error:
        return "refused" if "\n" not in str(error) else f"NOT ONE SENTENCE: {error}"
    except Exception as error:
        return f"NO SENTENCE: {file.name}: {error!r}"
    finally:
        file.write_bytes(whole)


def try_to_break(tries: int, seed: int) -> Counter[str]:
    """Damage folders that many times; how often each outcome was seen."""
    rng = np.random.default_rng(seed)
    user, item = np.divmod(rng.permutation(30 * 20)[:400], 20)
    ratings = nnmf.Ratings.from_arrays(user, item, rng.integers(1, 6, 400))
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        folders = []
        for name in ("plain", "one_layer_mlp", "dropout_mlp", "funk_svd", "svd", "svdpp"):
            model = nnmf.fit(name, ratings, n_factors=4, n_epochs=2)
            model.save(Path(place) / name)
            folders.append((Path(place) / name, model.predict(user, item)))
        for number in range(tries):
            folder, expected = folders[number % len(folders)]
            files = sorted(folder.iterdir())
            file = files[int(rng.integers(len(files)))]
            outcomes[attempt(folder, file, damage(file.read_bytes(), rng), expected, (user, item))] += 1
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes = try_to_break(arguments.tries, arguments.seed)
    for outcome, n in outcomes.most_common():
        print(f"{n:6}  {outcome}")
    raise SystemExit(0 if outcomes.keys() <= {"refused", "right"} else 1)


if __name__ == "__main__":
    main()
