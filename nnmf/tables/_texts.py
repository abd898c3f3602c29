"""`Texts`: a column of texts in the memory that they fill, as UTF-8 bytes and where each begins; compared by whole arrays.

A NumPy array of `str` gives every entry the room of the longest, four bytes a character: one id of 1,000 characters
among 2 million makes 8 GB of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from nnmf.errors import DataError

# Texts worked on at a time: what is made on the way stays small.
_BLOCK = 1 << 18
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)


class Texts:
    """Immutable column of n texts.

    Parameters
    ----------
    data : array of uint8
        The texts' UTF-8 bytes, one behind the other.
    start : array of int64, shape (n + 1,)
        Where each begins in ``data``, and the end.
    """

    def __init__(self, data: np.ndarray, start: np.ndarray) -> None:
        self.data, self.start = data.view(), start.view()
        self.__setstate__(self.__dict__)

    def __setstate__(self, state: dict[str, np.ndarray]) -> None:
        self.__dict__.update(state)
        self.data.flags.writeable = self.start.flags.writeable = False  # a copy and an unpickled array are writeable

    @classmethod
    def of(cls, values: Sequence[str] | np.ndarray, what: str | None = None) -> Texts:
        """The column of some texts.

        Parameters
        ----------
        values : sequence or array of str, shape (n,)
        what : str, optional
            How an error names the column; without it any text is taken, for looking up what may be nowhere.

        Raises
        ------
        DataError
            A text with a NUL, or with half of a surrogate pair, which no file can hold.
        """
        parts, lengths = [], np.empty(len(values), np.int64)
        for at in range(0, len(values), _BLOCK):
            block = values[at : at + _BLOCK]
            texts = block.tolist() if isinstance(block, np.ndarray) else list(block)
            joined = "".join(texts)
            if what is not None:
                _check(joined, texts, at, what)
            if joined.isascii():
                parts.append(joined.encode())
                lengths[at : at + len(texts)] = list(map(len, texts))
            else:
                encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
                parts.append(b"".join(encoded))
                lengths[at : at + len(texts)] = list(map(len, encoded))
        return cls(np.frombuffer(b"".join(parts), np.uint8), _starts(lengths))

    def __len__(self) -> int:
        return len(self.start) - 1

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Texts)
            and np.array_equal(self.start, other.start)
            and np.array_equal(self.data, other.data)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each: int64 array of shape (n,)."""
        return np.diff(self.start)

    def take(self, rows: np.ndarray) -> Texts:
        """The texts at the given positions."""
        start = _starts(self.lengths[rows])
        data = np.empty(int(start[-1]), np.uint8)
        for low, high in _blocks(len(rows)):
            shift = self.start[rows[low:high]] - start[low:high]
            here = np.arange(start[low], start[high])
            here += np.repeat(shift, np.diff(start[low : high + 1]))
            data[start[low] : start[high]] = self.data[here]
        return Texts(data, start)

    def joined(self, other: Texts) -> Texts:
        """These texts and those of another column behind them."""
        start = np.concatenate([self.start, other.start[1:] + self.start[-1]])
        return Texts(np.concatenate([self.data, other.data]), start)

    def have_blank_ends(self) -> bool:
        """Whether a text begins or ends with what Python's ``strip`` takes away."""
        there = np.flatnonzero(self.lengths)
        ends = np.concatenate([self.data[self.start[there]], self.data[self.start[there + 1] - 1]])
        doubtful = np.unique(there[np.flatnonzero((ends <= 32) | (ends >= 127)) % max(1, len(there))])
        return any(text != text.strip() for text in self.take(doubtful).strings().tolist())

    def strings(self) -> np.ndarray:
        """The texts as an array of `str` (n,), every entry as wide as the longest."""
        parts = []
        for low, high in _blocks(len(self)):
            data = self.data[self.start[low] : self.start[high]].tobytes()
            ends = (self.start[low : high + 1] - self.start[low]).tolist()
            if data.isascii():
                text = data.decode()
                parts.append([text[a:b] for a, b in pairwise(ends)])
            else:
                parts.append([data[a:b].decode() for a, b in pairwise(ends)])
        return np.concatenate([np.array(part, str) for part in parts]) if parts else np.empty(0, str)

    def hashes(self, seed: int) -> np.ndarray:
        """A number of 64 bits for each: uint64 array of shape (n,); texts that are equal have equal ones."""
        found = np.empty(len(self), np.uint64)
        for low, high in _blocks(len(self)):
            lengths = np.diff(self.start[low : high + 1])
            part = _mixed(lengths.astype(np.uint64) + np.uint64(2 * seed + 1))
            for rows, words in self._words(np.arange(low, high)):
                part[rows] = _mixed(part[rows] ^ words)
            found[low:high] = part
        return found

    def same(self, rows: np.ndarray, other: Texts, other_rows: np.ndarray) -> np.ndarray:
        """Whether each of these texts is the one of another column: boolean array of the shape of both positions."""
        found = self.lengths[rows] == other.lengths[other_rows]
        for low, high in _blocks(len(rows)):
            equal = np.flatnonzero(found[low:high]) + low
            mine, theirs = self._words(rows[equal]), other._words(other_rows[equal])
            for (at, left), (_, right) in zip(mine, theirs, strict=True):
                found[equal[at][left != right]] = False
        return found

    def order(self) -> np.ndarray:
        """Positions that sort the texts as Python does: int64 array of shape (n,)."""
        order = np.arange(len(self))
        # Eight bytes at a time; only those that are still equal to another are looked at further.
        open_, group, skip = order.copy(), np.zeros(len(self), np.int64), 0
        while len(open_) > 1:
            rows = order[open_]
            words = np.zeros(len(rows), np.uint64)
            for at, found in self._words(rows, skip, skip + 1):
                words[at] = found.byteswap()
            by = np.lexsort((words, group))
            order[open_], words, group = rows[by], words[by], group[by]
            new = np.append(True, (words[1:] != words[:-1]) | (group[1:] != group[:-1]))
            group = np.cumsum(new)
            tied = ~(new & np.append(new[1:], True)) & (words & np.uint64(255) != 0)
            open_, group, skip = open_[tied], group[tied], skip + 1
        return order

    def _words(
        self, rows: np.ndarray, first: int = 0, end: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Eight bytes after eight of some texts, as (places in ``rows`` of texts that go so far, uint64 words)."""
        lengths, start = self.start[rows + 1] - self.start[rows], self.start[rows]
        places = np.flatnonzero(lengths > 8 * first)
        while len(places) and (end is None or first < end):
            left = lengths[places] - 8 * first
            yield places, self._load(start[places] + 8 * first) & _MASKS[np.minimum(left, 8)]
            first += 1
            places = places[left > 8]

    def _load(self, at: np.ndarray) -> np.ndarray:
        """The eight bytes from each place on, the first one lowest; behind the end, zeros."""
        size = len(self.data)
        words = np.zeros(len(at), np.uint64)
        inside = at <= size - 8
        if size >= 8:
            view: np.ndarray = np.ndarray(size - 7, "<u8", np.ascontiguousarray(self.data).data, strides=(1,))
            words[inside] = view[at[inside]]
        for row in np.flatnonzero(~inside):  # at most those that begin in the last seven bytes
            words[row] = int.from_bytes(self.data[at[row] :].tobytes(), "little")
        return words


def distinct_texts(texts: Texts) -> tuple[int, np.ndarray, np.ndarray, Texts]:
    """(seed, ascending hashes, index among them of every text, the text of each), where no two texts share a hash."""
    seed = 0
    while True:
        hashes, first, index = np.unique(texts.hashes(seed), return_index=True, return_inverse=True)
        if texts.same(np.arange(len(texts)), texts, first[index]).all():
            return seed, hashes, index, texts.take(first)
        seed += 1


def checked_texts(text: np.ndarray, start: np.ndarray) -> Texts:
    """Texts of arrays that may come from anywhere.

    Raises
    ------
    DataError
        Other types or shapes, places that do not ascend, what is no UTF-8 text.
    """
    if text.dtype != np.uint8 or start.dtype != np.int64 or text.ndim != 1 or start.ndim != 1 or len(start) == 0:
        raise DataError(
            f"ids: expected columns of uint8 and int64, got {text.dtype} of shape {text.shape} and {start.dtype} of shape "
            f"{start.shape}."
        )
    if start[0] != 0 or start[-1] != len(text) or (start[1:] < start[:-1]).any():
        raise DataError(
            f"ids: the places where the texts begin do not ascend from 0 to the {len(text)} bytes there are."
        )
    try:
        text.tobytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"ids: byte {error.start} is not UTF-8 text.") from None
    begins = text[start[start < len(text)]]
    # Bytes 10xxxxxx go on with a letter.
    if ((begins & 0xC0) == 0x80).any() or (text == 0).any():
        raise DataError("ids: a text begins within a letter, or holds a NUL.")
    return Texts(text.copy(), start.copy())


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit of the value (the finalizer of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    return ((low, min(n, low + _BLOCK)) for low in range(0, n, _BLOCK))


def _starts(lengths: np.ndarray) -> np.ndarray:
    start = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=start[1:])
    return start


def _check(joined: str, texts: list[str], first: int, what: str) -> None:
    try:
        joined.encode()
        if "\0" not in joined:
            return
    except UnicodeEncodeError:
        pass
    for row, text in enumerate(texts, first):
        if "\0" in text:
            raise DataError(f"{what}: row {row} holds {text[:80]!r}, an id with a NUL character; take it out.")
        if text.encode("utf-8", "replace").decode() != text:
            raise DataError(f"{what}: row {row} holds {text[:80]!r}, which is not Unicode text; mend the id.")
