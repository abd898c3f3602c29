import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmf.errors import DataError
from nnmf.tables import UNKNOWN, IdMap, as_ids

# Ranges that take the dense table and ranges that cannot.
integers = st.one_of(st.integers(-50, 50), st.integers(-(2**62), 2**62))
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), min_size=1, max_size=5)


@given(st.one_of(st.lists(integers, min_size=1), st.lists(texts, min_size=1)))
def test_number_agrees_with_a_dictionary(values):
    ids, index = IdMap.number(as_ids(values))
    assert ids.ids.tolist() == sorted(set(values))
    assert [ids.ids[at].item() for at in index] == values
    assert index.dtype == np.int32


@given(st.lists(integers, min_size=1, unique=True), st.lists(integers))
def test_index_agrees_with_a_dictionary(ids, asked):
    known = {value: at for at, value in enumerate(ids)}  # in any order, not only ascending
    assert IdMap(ids).index(np.array(asked, np.int64)).tolist() == [known.get(value, UNKNOWN) for value in asked]


@given(st.lists(texts, min_size=1, unique=True), st.lists(texts))
def test_index_of_strings_agrees_with_a_dictionary(ids, asked):
    known = {value: at for at, value in enumerate(ids)}
    assert IdMap(ids).index(np.array(asked, str)).tolist() == [known.get(value, UNKNOWN) for value in asked]


def test_texts_find_integer_ids_and_the_other_way_round():
    assert IdMap([5, 7]).index(["7", "x", "5", "", "99999999999999999999"]).tolist() == [1, -1, 0, -1, -1]
    assert IdMap(["5", "a"]).index([5, 6]).tolist() == [0, -1]
    assert IdMap([5, 7]).index(7).tolist() == [1]


@given(st.lists(integers, min_size=1, unique=True), st.lists(integers))
def test_extend_keeps_the_old_indices(ids, more):
    before = IdMap(ids)
    after = before.extend(np.array(more, np.int64))
    assert after.ids[: len(before)].tolist() == ids
    assert after.ids[len(before) :].tolist() == sorted(set(more) - set(ids))


def test_whole_floats_are_ids_and_others_are_not():
    assert as_ids([1.0, 2.0]).tolist() == [1, 2]
    for bad in ([1.5], [np.nan], [np.inf]):
        with pytest.raises(DataError, match=r"row 0 holds .* which is no id"):
            as_ids(bad)
    with pytest.raises(DataError, match="row 1 holds None"):
        as_ids(np.array(["a", None], object))


def test_ids_must_be_distinct_and_stay_as_they_are():
    with pytest.raises(DataError, match="id 3 stands twice"):
        IdMap([3, 1, 3])
    with pytest.raises(ValueError, match="read-only"):
        IdMap([1, 2]).ids[0] = 5


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32])
def test_the_ends_of_an_integer_type_are_ids(dtype):
    ends = np.array([np.iinfo(dtype).max, np.iinfo(dtype).min, 3], dtype)
    ids, index = IdMap.number(as_ids(ends))
    assert ids.ids.tolist() == sorted(ends.tolist())
    assert index.tolist() == ids.index(ends).tolist() == [ids.ids.tolist().index(end) for end in ends.tolist()]


@pytest.mark.parametrize("low", [-(2**63), 2**63 - 5, -(2**31), 2**31 - 5, -128])
def test_a_short_range_anywhere_is_looked_up_right(low):
    ids = IdMap([low, low + 2, low + 4])
    asked = [low + 4, low, low + 3, 0, 2**63 - 1, -(2**63)]
    known = {low: 0, low + 2: 1, low + 4: 2}
    assert ids.index(np.array(asked, np.int64)).tolist() == [known.get(value, UNKNOWN) for value in asked]


def test_bytes_are_ids_where_they_are_text():
    assert as_ids([b"a", "é".encode()]).tolist() == ["a", "é"]
    with pytest.raises(DataError, match="is not UTF-8 text"):
        as_ids([b"a", b"\xff"], "user ids")


def test_copies_of_a_map_stay_as_they_are():
    ids = IdMap([3, 5])
    for other in (copy.deepcopy(ids), pickle.loads(pickle.dumps(ids))):
        assert other == ids and not other.ids.flags.writeable
