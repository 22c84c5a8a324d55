"""Words that describe users, extracted from the texts of their training items.

No model, no network.
"""

# U users, I items, T terms of the vocabulary, B users of a block
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_array, csr_array

from glta.data.interactions import Interactions

VOCABULARY = (
    4096  # terms, the most frequent ones; a dense T x T matrix of float32 then takes 64 MiB
)
POOL = 32  # emphasised terms per user that enter the neighbourhood
PRIOR = 1.0  # pseudo-items of a user, distributed as the catalogue
SHRINKAGE = 5.0  # users; pulls the similarity of rarely seen terms towards 0
WORD = r"\p{L}[\p{L}\p{N}'\x{2019}-]*[\p{L}\p{N}]"
STOP_WORDS = frozenset(
    """a about above after again against all also am an and any are as at be because been before being below between both but
    by can cannot could did do does doing down during each etc few for from further get had has have having he her here hers
    herself him himself his how i if in into is it it's its itself just like made make makes me more most much must my myself
    new no nor not now of off on once one only or other our ours ourselves out over own per same she should so some such than
    that the their theirs them themselves then there these they this those through to too two under until up upon us use used
    using very via was we well were what when where which while who whom why will with within without would you your yours
    yourself yourselves""".split()  # noqa: SIM905 - 150 quoted words read worse
)


@dataclass(frozen=True)
class Terms:
    """Hold which item has which term. names: (T,) alphabetical. item: (I, T) sparse 0/1 float32."""

    names: np.ndarray
    item: csr_array


def item_terms(texts: pl.DataFrame, categories: pl.DataFrame | None = None) -> Terms:
    """Find the terms of items: lower-case words of their texts, and their categories as whole
    phrases.

    texts: columns item, text. categories: columns item, categories (list of text), or None. Words
    that are part of one of the item's own categories are left out, as are stop words and words of
    one letter. Keeps the VOCABULARY terms that most items have, the alphabetically first among
    equals.
    """
    words = (
        texts.select("item", term=pl.col("text").str.to_lowercase().str.extract_all(WORD))
        .explode("term")
        .drop_nulls()
    )
    words = words.filter(~pl.col("term").is_in(sorted(STOP_WORDS)))
    if categories is not None:
        phrases = categories.select("item", term=pl.col("categories")).explode("term").drop_nulls()
        phrases = phrases.with_columns(
            pl.col("term").str.to_lowercase().str.replace_all(r"[,\s]+", " ").str.strip_chars()
        )
        phrases = phrases.filter(pl.col("term") != "")
        parts = (
            phrases.with_columns(pl.col("term").str.extract_all(WORD)).explode("term").drop_nulls()
        )
        words = pl.concat([phrases, words.join(parts, on=["item", "term"], how="anti")])
    pairs = words.unique()
    kept = (
        pairs.group_by("term")
        .len()
        .sort(["len", "term"], descending=[True, False])
        .head(VOCABULARY)
    )
    names = kept["term"].sort()
    index = pl.DataFrame({"term": names, "index": np.arange(names.len())})
    pairs = pairs.join(index, on="term").sort("item", "index")
    where = pairs["item"].to_numpy(), pairs["index"].to_numpy()
    item = coo_array((np.ones(pairs.height, np.float32), where), shape=(texts.height, names.len()))
    return Terms(names.to_numpy().astype(object), item.tocsr())


def extract(
    terms: Terms,
    train: Interactions,
    num_tags: int,
    num_interests: int,
    of: Interactions | None = None,
) -> pl.DataFrame:
    """Extract tags and interests of all users. Returns columns user, tags, interests (lists of
    text, best first).

    of: other people, whose words are wanted instead; which terms go together is still read off the
    users of train.

    Tags are the terms that a user's training items have more often than the catalogue: with c of
    the user's n items having a term that a share p of the catalogue has,

        emphasis = c * log((c + a p) / ((n + a) p)),   a = PRIOR,

    the term's part of the log-likelihood ratio between the two (Dunning 1993), smoothed by a
    pseudo-items.

    Interests are terms without such emphasis that users with the same tags emphasise. With P the
    (U, T) emphases, the POOL largest a user, rows of length 1, and G = P^T P the terms'
    co-occurrence within users,

        interest = P S,   S[s, t] = G[s, t] / (sqrt(G[s, s] G[t, t]) + SHRINKAGE),   S[t, t] = 0,

    without the terms whose emphasis for the user is positive. Only training pairs and item texts
    are read. Lists are shorter, down to empty, where nothing has a positive value. Among equals the
    alphabetically first term wins.
    """
    emphasis = emphases(terms, train)
    pool = top_terms(emphasis, POOL)
    similar = similarities(profiles(pool, emphasis.shape))
    if of is not None:
        emphasis = emphases(terms, of)
        pool = top_terms(emphasis, POOL)
    tags = pool.group_by("user", maintain_order=True).head(num_tags)
    interests = top_interests(emphasis, profiles(pool, emphasis.shape), similar, num_interests)
    users = pl.DataFrame({"user": np.arange(emphasis.shape[0], dtype=np.int32)})
    for column, found in (("tags", tags), ("interests", interests)):
        named = found.with_columns(
            pl.Series(column, terms.names[found["term"].to_numpy()], dtype=pl.String)
        )
        lists = named.group_by("user", maintain_order=True).agg(column)
        users = users.join(lists, on="user", how="left", maintain_order="left")
    return users.with_columns(pl.col("tags", "interests").fill_null([]))


def emphases(terms: Terms, train: Interactions) -> csr_array:
    """Compute the positive emphases of `extract`, (U, T) sparse float64."""
    ones = np.ones(len(train), np.float64)
    liked = csr_array((ones, train.item, train.indptr), shape=(train.num_users, train.num_items))
    found = (liked @ terms.item.astype(np.float64)).tocoo()
    user, term = found.coords
    share = terms.item.sum(0)[term] / train.num_items
    count, size = found.data, train.user_degree[user]
    value = count * np.log((count + PRIOR * share) / ((size + PRIOR) * share))
    kept = value > 1e-9  # a term that all items have gives 0 but for rounding
    result = coo_array((value[kept], (user[kept], term[kept])), shape=found.shape).tocsr()
    result.sort_indices()
    return result


def top_terms(values: csr_array, k: int) -> pl.DataFrame:
    """Pick each row's k largest entries: columns user, term, value, sorted by user, then value from
    the top, then term.
    """
    found = values.tocoo()
    user, term = found.coords
    frame = pl.DataFrame(
        {"user": user.astype(np.int32), "term": term.astype(np.int32), "value": found.data}
    )
    order = frame.sort(["user", "value", "term"], descending=[False, True, False])
    return order.group_by("user", maintain_order=True).head(k)


def profiles(pool: pl.DataFrame, shape: tuple[int, int]) -> csr_array:
    """Make the rows P of `extract` from `top_terms`' POOL largest emphases: (U, T) sparse float32,
    of length 1 or 0.
    """
    entries = pool["value"].to_numpy(), (pool["user"].to_numpy(), pool["term"].to_numpy())
    profile = coo_array(entries, shape=shape).tocsr()
    length = np.sqrt(profile.multiply(profile).sum(1))
    return (
        (profile.multiply(1 / np.where(length > 0, length, 1)[:, None])).tocsr().astype(np.float32)
    )


def similarities(profile: csr_array) -> np.ndarray:
    """Compute S of `extract`, (T, T) float32."""
    similar = (profile.T @ profile).toarray()
    own = np.sqrt(similar.diagonal())
    similar /= np.outer(own, own) + np.float32(SHRINKAGE)
    np.fill_diagonal(similar, 0)
    return similar


def top_interests(
    emphasis: csr_array, profile: csr_array, similar: np.ndarray, k: int, block: int = 1024
) -> pl.DataFrame:
    """Pick each user's k largest interests, as `top_terms` does."""
    found = []
    for start in range(0, emphasis.shape[0], block):
        value = profile[start : start + block] @ similar
        value[emphasis[start : start + block].nonzero()] = 0
        # a stable sort of the negated values keeps the lower term, the alphabetically first, in
        # front
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
