"""The names that tables give the columns of user, item, rating and timestamp."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Names that a header may give the columns, without case, accents, spaces, "_" and "-"; in the order of `ROLES`.
_KNOWN_NAMES = (
    set(
        [
            "user",
            "userid",
            "uid",
            "u",
            "reviewerid",
            "customerid",
            "customer",
            "username",
            "nutzer",
            "nutzerid",
            "benutzer",
            "benutzerid",
            "kunde",
            "utilisateur",
            "usuario",
            "utente",
            "utilizador",
            "gebruiker",
            "uzytkownik",
            "anvandare",
            "用户",
            "用户id",
            "ユーザー",
            "пользователь",
        ]
    ),
    set(
        [
            "item",
            "itemid",
            "iid",
            "i",
            "movie",
            "movieid",
            "book",
            "bookid",
            "isbn",
            "asin",
            "product",
            "productid",
            "artistid",
            "sku",
            "article",
            "artikel",
            "film",
            "filmid",
            "buch",
            "produkt",
            "produit",
            "articulo",
            "producto",
            "libro",
            "pelicula",
            "prodotto",
            "artigo",
            "produto",
            "物品",
            "电影",
            "商品",
            "アイテム",
            "товар",
            "фильм",
        ]
    ),
    set(
        [
            "rating",
            "ratings",
            "r",
            "score",
            "stars",
            "bookrating",
            "movierating",
            "bewertung",
            "note",
            "wertung",
            "evaluation",
            "calificacion",
            "puntuacion",
            "valutazione",
            "voto",
            "avaliacao",
            "nota",
            "beoordeling",
            "ocena",
            "betyg",
            "评分",
            "評価",
            "оценка",
            "рейтинг",
        ]
    ),
    set(
        [
            "timestamp",
            "time",
            "ts",
            "t",
            "unixtime",
            "date",
            "datetime",
            "datum",
            "zeit",
            "zeitstempel",
            "horodatage",
            "fecha",
            "data",
            "tijd",
            "时间",
            "时间戳",
            "日付",
            "время",
            "дата",
        ]
    ),
)


def column_places(names: Sequence[str]) -> list[int | None]:
    """Position of the column of each of `ROLES`, None for those that no known name stands for."""
    plain = _plain(names)
    return [next((at for at, name in enumerate(plain) if name in known), None) for known in _KNOWN_NAMES]


def id_place(names: Sequence[str]) -> int:
    """Position of the first column whose name is known for ids of users or items, else of the first."""
    known = {"id"} | _KNOWN_NAMES[0] | _KNOWN_NAMES[1]
    return next((at for at, name in enumerate(_plain(names)) if name in known), 0)


def _plain(names: Sequence[str]) -> list[str]:
    # RecBole's headers carry a type behind a colon.
    return [re.sub(r"[\s_-]", "", _without_accents(name.partition(":")[0]).lower()) for name in names]


def _without_accents(text: str) -> str:
    return text.translate(str.maketrans("áàâãäçéèêíìóòôõöúùûüñż", "aaaaaceeeiiooooouuuunz"))
