"""Where text comes from: files of several kinds (also compressed), corpora of the catalogue, embedded worlds."""
