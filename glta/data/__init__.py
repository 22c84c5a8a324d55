"""From a raw archive or the user's own tables to dense ids and a split."""
