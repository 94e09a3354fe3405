"""HandyRep's own plugins: one file a plugin; file, class and plugin carry the same name (the seed's, where it names one)."""
