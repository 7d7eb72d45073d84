"""The offline demo: model pairs made from generated data, with nothing to download."""
