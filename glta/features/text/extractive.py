"""Words that describe users, extracted from the texts of their training items without a model."""

# U users, I items, T terms of the vocabulary, B users of a block
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array, csr_array

from glta.data.interactions import Interactions
from glta.data.words import BREAK, LONGEST, same_word, with_breaks
from glta.features.text.item_texts import clean

VOCABULARY = 4096  # terms, the most frequent ones; a (T, T) matrix of float32 then takes 64 MiB
POOL = 32  # terms of a user, those of the largest emphasis, from which interests are found
PRIOR = 1.0  # items that each user is given in addition, with terms as frequent as in the catalogue
SHRINKAGE = 5.0  # users; pulls the similarity of rare terms towards 0
ADDRESS = rf"(?i)(?:https?://|www\.)[^\s{BREAK}]+"  # of a web page: its parts are no words
# a letter, then letters, digits, apostrophes, hyphens or joiners, and a letter or a digit at the
# end; marks above or below letters belong to them; in Chinese and Korean one letter can be a word
WORD = (
    r"\p{L}(?:[\p{L}\p{M}\p{N}\x{200C}\x{200D}'’ʼ‐‑-]|[\x22״]\p{Hebrew})*"  # noqa: RUF001 - signs that look alike
    r"(?:[\p{L}\p{M}\p{N}\x{200D}]|[\x22״]\p{Hebrew})|[\p{Han}\p{Hangul}]"
)
STOP_WORDS = frozenset(
    """a about above after again against all also am an and any are as at be because been before being below between both but
    by can cannot could did do does doing down during each etc few for from further get had has have having he her here hers
    herself him himself his how i if in into is it it's its itself just like made make makes me more most much must my myself
    new no nor not now of off on once one only or other our ours ourselves out over own per same she should so some such than
    that the their theirs them themselves then there these they this those through to too two under until up upon us use used
    using very via was we well were what when where which while who whom why will with within without would you your yours
    yourself yourselves
    的 了 是 在 和 与 與 也 不 就 都 而 及 或 我 你 他 她 它 们 們 这 這 那 有 被 把 从 從 对 對 为 為 以 等 之 其 将 將 个 個 着 著 很 到 要 会 會
    그 이 저 것 수 및 등 더 또""".split()  # noqa: SIM905 - 200 quoted words read worse
)


@dataclass(frozen=True)
class Terms:
    """Hold which item has which term.

    names: the terms, (T,), in alphabetical order. item: 1 where an item has a term, else 0, (I, T)
    sparse float32.
    """

    names: np.ndarray
    item: csr_array


def item_terms(texts: pl.DataFrame, categories: pl.DataFrame | None = None) -> Terms:
    """Find the terms of items: the words of their texts, and their categories as whole phrases.

    texts: columns item, text. categories: columns item, categories (list of text), or None.
    Spellings of the same word are one term (see `same_word`), written in lower case as most items
    write it. Left out are stop words, words of one letter (but for Chinese and Korean), terms of
    LONGEST characters or more, web addresses, and the words of an item's own categories. Kept are
    the VOCABULARY terms that most items have; among equals the alphabetically first ones.
    """
    words = _words(texts.select("item", "text"))
    words = words.filter(~pl.col("key").is_in(sorted(STOP_WORDS)))
    if categories is not None:
        phrases = _phrases(categories)
        parts = _words(phrases.select("item", "term"))
        words = pl.concat([phrases, words.join(parts, on=["item", "key"], how="anti")])
    words = words.filter(pl.col("term").str.len_chars() < LONGEST)
    pairs = words.select("item", "key").unique()
    kept = (
        pairs.group_by("key").len().sort(["len", "key"], descending=[True, False]).head(VOCABULARY)
    )
    spelled = (
        words.join(kept.select("key"), on="key")
        .unique()
        .group_by("key", "term")
        .len()
        .sort(["len", "term"], descending=[True, False])
        .unique("key", keep="first", maintain_order=True)
        .sort("term")
        .select("key", "term", index=pl.int_range(pl.len()))
    )
    pairs = pairs.join(spelled, on="key").sort("item", "index")
    where = pairs["item"].to_numpy(), pairs["index"].to_numpy()
    ones = np.ones(pairs.height, np.float32)
    item = coo_array((ones, where), shape=(texts.height, spelled.height))
    return Terms(spelled["term"].to_numpy().astype(object), item.tocsr())


def _words(texts: pl.DataFrame) -> pl.DataFrame:
    """Return the words of texts, as columns item, term and key. texts: columns item and a text."""
    item, text = texts
    found = with_breaks(text).str.replace_all(ADDRESS, " ").str.to_lowercase()
    words = pl.DataFrame({"item": item, "term": found.str.extract_all(WORD)})
    return _with_keys(words.explode("term").drop_nulls())


def _phrases(categories: pl.DataFrame) -> pl.DataFrame:
    """Return the categories of items as columns item, term and key."""
    given = categories.select("item", term="categories").explode("term").drop_nulls()
    plain = clean(given["term"]).str.to_lowercase()
    tidy = plain.str.replace_all(r"[,\s]+", " ").str.strip_chars()
    return _with_keys(given.with_columns(tidy).filter(pl.col("term") != ""))


def _with_keys(words: pl.DataFrame) -> pl.DataFrame:
    """Add the form that all spellings of a term share, as column key."""
    terms = words.select("term").unique()
    keys = terms.with_columns(key=pl.col("term").map_elements(same_word, pl.String))
    return words.join(keys, on="term", maintain_order="left")


def extract(
    terms: Terms,
    users: Interactions,
    *,
    num_tags: int,
    num_interests: int,
    similar: np.ndarray | None = None,
) -> pl.DataFrame:
    """Extract tags and interests of users from the terms of their training items.

    users: those of training, or new ones by their items. similar: (T, T) float32, which terms go
    together for the users of training (`similar_terms`); None: for these users.

    Tags are the terms that a user's items have more often than the catalogue. Let c of the user's n
    items have a term, and let a share p of the catalogue have it. Then

        emphasis = c * log((c + a p) / ((n + a) p)),   a = PRIOR.

    It is the term's part of the log-likelihood ratio between the two (Dunning 1993), smoothed by a
    additional items.

    Interests are terms that users with the same tags emphasise, and that the user does not. Let P
    be the (U, T) emphases, with the POOL largest of each user and rows of length 1, and let
    G = P^T P tell how often two terms occur with the same users. Then

        interest = P S,   S[s, t] = G[s, t] / (sqrt(G[s, s] G[t, t]) + SHRINKAGE),   S[t, t] = 0,

    for terms without a positive emphasis for the user.

    Only training pairs and item texts are read. Among equals the alphabetically first term wins.
    Returns columns user, tags, interests (lists of text, best first). A list is shorter, or empty,
    where fewer values are positive.
    """
    emphasis = emphases(terms, users)
    pool = top_terms(emphasis, POOL)
    profile = profiles(pool, emphasis.shape)
    if similar is None:
        similar = similarities(profile)
    tags = pool.group_by("user", maintain_order=True).head(num_tags)
    interests = top_interests(emphasis, profile, similar, num_interests)
    words = pl.DataFrame({"user": np.arange(emphasis.shape[0], dtype=np.int32)})
    for column, found in (("tags", tags), ("interests", interests)):
        names = terms.names[found["term"].to_numpy()]
        named = found.with_columns(pl.Series(column, names, dtype=pl.String))
        lists = named.group_by("user", maintain_order=True).agg(column)
        words = words.join(lists, on="user", how="left", maintain_order="left")
    return words.with_columns(pl.col("tags", "interests").fill_null([]))


def similar_terms(terms: Terms, train: Interactions) -> np.ndarray:
    """Compute the matrix S of `extract` from the users of training, (T, T) float32."""
    emphasis = emphases(terms, train)
    return similarities(profiles(top_terms(emphasis, POOL), emphasis.shape))


def emphases(terms: Terms, train: Interactions) -> csr_array:
    """Compute the emphases of `extract` that are positive, (U, T) sparse float64."""
    ones = np.ones(len(train), np.float64)
    liked = csr_array((ones, train.item, train.indptr), shape=(train.num_users, train.num_items))
    found = (liked @ terms.item.astype(np.float64)).tocoo()
    user, term = found.coords
    share = terms.item.sum(0)[term] / train.num_items
    count = found.data
    size = train.user_degree[user]
    value = count * np.log((count + PRIOR * share) / ((size + PRIOR) * share))
    kept = value > 1e-9  # a term that all items have gives 0 up to rounding
    result = coo_array((value[kept], (user[kept], term[kept])), shape=found.shape).tocsr()
    result.sort_indices()
    return result


def top_terms(values: csr_array, k: int) -> pl.DataFrame:
    """Pick the k largest entries of each row.

    Returns columns user, term, value: sorted by user, then by value from the largest, then by term.
    """
    found = values.tocoo()
    user, term = found.coords
    frame = pl.DataFrame(
        {"user": user.astype(np.int32), "term": term.astype(np.int32), "value": found.data}
    )
    order = frame.sort(["user", "value", "term"], descending=[False, True, False])
    return order.group_by("user", maintain_order=True).head(k)


def profiles(pool: pl.DataFrame, shape: tuple[int, int]) -> csr_array:
    """Make the matrix P of `extract` from the terms that `top_terms` picked.

    Returns (U, T) sparse float32, with rows of length 1; rows of users without terms are empty.
    """
    where = pool["user"].to_numpy(), pool["term"].to_numpy()
    profile = coo_array((pool["value"].to_numpy(), where), shape=shape).tocsr()
    length = np.sqrt(profile.multiply(profile).sum(1))
    scale = 1 / np.where(length > 0, length, 1)
    return profile.multiply(scale[:, None]).tocsr().astype(np.float32)


def similarities(profile: csr_array) -> np.ndarray:
    """Compute the matrix S of `extract`, (T, T) float32."""
    similar = (profile.T @ profile).toarray()
    own = np.sqrt(similar.diagonal())
    similar /= np.outer(own, own) + np.float32(SHRINKAGE)
    np.fill_diagonal(similar, 0)
    return similar


def top_interests(
    emphasis: csr_array, profile: csr_array, similar: np.ndarray, k: int, block: int = 1024
) -> pl.DataFrame:
    """Pick the k largest interests of each user, as `top_terms` does; `block` users at a time."""
    found = []
    for start in range(0, emphasis.shape[0], block):
        value = profile[start : start + block] @ similar
        value[emphasis[start : start + block].nonzero()] = 0
        # A stable sort of the negated values keeps the alphabetically first of equal terms in front.
        term = np.argsort(-value, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(value, term, 1)
        row, column = np.nonzero(best > 0)
        picked = {
            "user": (start + row).astype(np.int32),
            "term": term[row, column].astype(np.int32),
            "value": best[row, column],
        }
        found.append(
            pl.DataFrame(picked, schema={"user": pl.Int32, "term": pl.Int32, "value": pl.Float32})
        )
    return pl.concat(found)
