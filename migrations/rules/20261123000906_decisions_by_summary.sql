-- An event is decided about once, so its id is found for people (`eventpulse why`, a decision by its event) and for
-- nothing else; ids are hashes, and a tree of them gets each new one on a page of its own: a fifth of what logging a
-- decision cost, and more the larger the log is. This keeps a Bloom filter of each 64 pages (about 1,400 rows of
-- decisions that nothing came of, which are the smallest; one in a thousand of other ranges is read in vain). What
-- is not summarized yet is read: with autosummarize that is little.
DROP INDEX decisions_log_input_id;
CREATE INDEX decisions_log_input_id ON decisions_log
    USING brin (input_id uuid_bloom_ops (n_distinct_per_range = 1500, false_positive_rate = 0.001))
    WITH (pages_per_range = 64, autosummarize = on);
