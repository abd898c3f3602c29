"""`FilesContract`: what is saved, exported or copied answers as before, and nothing that is no number is saved."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import pickle
import unittest
from pathlib import Path
from typing import Any

import numpy as np

from nnmf import storage
from nnmf.errors import ConfigError, DataError
from nnmf.kinds import load, load_checkpoint
from nnmf.models import Model
from nnmf.storage import RunFolder
from nnmf.tables import Ratings

from ._base import Contract
from ._compare import assert_same_model, refused


class FilesContract(Contract):
    """What every kind of model writes and reads; see `Contract` for what to set."""

    def test_a_saved_model_predicts_as_before(self, tmp_path: Path) -> None:
        model, (train, _) = self.trained(), self.tables()
        model.save(tmp_path / "model")
        loaded = load(tmp_path / "model")
        assert type(loaded) is type(model)
        assert_same_model(model, loaded)
        ids = [*train.users.ids[:20], 999], [*train.items.ids[:20], 999]
        assert np.array_equal(model.predict(*ids), loaded.predict(*ids))
        for mine, theirs in zip(model.recommend(train.users.ids, 7), loaded.recommend(train.users.ids, 7), strict=True):
            assert np.array_equal(mine, theirs)
        assert (loaded.config, loaded.scale) == (model.config, model.scale)

    def test_a_folder_that_holds_something_is_not_written_unasked(self, tmp_path: Path) -> None:
        model = self.trained()
        model.save(tmp_path / "model")
        with refused("not an empty folder", ConfigError):
            model.save(tmp_path / "model")
        model.save(tmp_path / "model", overwrite=True)
        assert [entry.name for entry in tmp_path.iterdir()] == ["model"], "something half-written stays behind"
        with refused("keeps no state to go on from", DataError):
            load_checkpoint(tmp_path / "model")

    def test_a_run_that_goes_on_with_more_users_is_saved_whole(self, tmp_path: Path) -> None:
        train, _ = self.tables()
        run = RunFolder.begin(tmp_path / "run", {})
        model = self.fit(train.take(train.user < 40).compact(), callbacks=[run])
        model.fit_more(train, n_epochs=2, callbacks=[run])
        run.close()
        ids = train.users.ids[train.user], train.items.ids[train.item]
        assert np.array_equal(load(tmp_path / "run").predict(*ids), model.predict(*ids))

    def test_what_is_no_finite_number_is_never_saved(self, tmp_path: Path) -> None:
        state = self.trained().to_state()
        for name, array in state.kept.arrays.items():
            if array.dtype.kind != "f":
                continue
            spoilt = np.array(array)
            spoilt.reshape(-1)[-1] = np.nan
            kept = dataclasses.replace(state.kept, arrays={**state.kept.arrays, name: spoilt})
            with refused("no finite numbers", DataError):
                storage.save(tmp_path / "model", dataclasses.replace(state, kept=kept, last=None), False)
            assert not any(tmp_path.iterdir()), "something half-written stays behind"

    def test_copies_answer_as_the_model_does(self) -> None:
        model, (train, _) = self.trained(), self.tables()
        table = pickle.loads(pickle.dumps(train))
        assert table.digest == copy.deepcopy(train).digest == train.digest
        wanted = model.predict_index(train.user, train.item)
        for other in self._copies(model):
            assert np.array_equal(other.predict_index(train.user, train.item), wanted)

    @staticmethod
    def _copies(model: Model) -> list[Model]:
        return [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]

    def test_the_onnx_file_answers_as_predict_does(self, tmp_path: Path) -> None:
        for name in ("onnx", "onnxruntime"):
            if importlib.util.find_spec(name) is None:
                raise unittest.SkipTest(f"needs {name}: pip install {name}")
        import onnxruntime  # type: ignore[import-untyped, unused-ignore]

        train, _ = self.tables()
        if not self.exports:
            with refused("ONNX", ConfigError):
                self.trained().export_onnx(tmp_path / "model.onnx")
            assert not any(tmp_path.iterdir())
            return

        def ask(name: str, **inputs: Any) -> np.ndarray:
            session = onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
            found: np.ndarray = session.run(["rating"], inputs)[0]
            return found

        for kind, unknown in ((int, -5), (str, "nobody")):
            users, items = (
                [f"id{value}" if kind is str else 7 * int(value) for value in ids.ids[index]]
                for ids, index in ((train.users, train.user), (train.items, train.item))
            )
            model = self.fit(Ratings.from_arrays(users, items, train.rating))
            users = [*users[:300], unknown, users[0], unknown]
            items = [*items[:300], items[0], unknown, unknown]
            dtype = object if kind is str else np.int64
            model.export_onnx(tmp_path / "model.onnx")
            answer = ask("model.onnx", user_id=np.array(users, dtype), item_id=np.array(items, dtype))
            np.testing.assert_allclose(answer, model.predict(users, items), atol=1e-5, rtol=1e-5)
            model.export_onnx(tmp_path / "raw.onnx", ids=False)
            answer = ask("raw.onnx", user=train.user.astype(np.int64), item=train.item.astype(np.int64))
            np.testing.assert_allclose(answer, model.predict_index(train.user, train.item), atol=1e-5, rtol=1e-5)
