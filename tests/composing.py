"""Hydra takes 60 ms to compose a config, most of it for files that it has read before: a process reads them once."""

import pickle
from dataclasses import fields
from types import SimpleNamespace

from hydra._internal import config_loader_impl as loader

from experiments.config import CONF, Config

READ_FILES, MERGE_FILES = loader.create_defaults_list, loader.ConfigLoaderImpl._compose_config_from_defaults_list
_FIELDS = {field.name for field in fields(Config)} - {group.name for group in CONF.iterdir()}
_read, _merged = {}, {}


def remember_files(patch):
    """From now on this project's files are read and merged once for each choice of them; fields are assigned as ever.

    Args:
      patch: which undoes it.
    """
    patch.setattr(loader, "create_defaults_list", _read_once)
    patch.setattr(loader.ConfigLoaderImpl, "_compose_config_from_defaults_list", _merge_once)


def forget_files(patch):
    """Hydra as it comes."""
    patch.setattr(loader, "create_defaults_list", READ_FILES)
    patch.setattr(loader.ConfigLoaderImpl, "_compose_config_from_defaults_list", MERGE_FILES)


def _own(repo):
    """Whether all files are the project's own, which no test changes."""
    return {source.path for source in repo.get_sources() if source.scheme() == "file"} == {str(CONF)}


def _assigns(override):
    """Whether it can't choose a file: it is of a field, and no group has a dot in its name."""
    name = override.key_or_group
    return override.package is None and ("." in name or name in _FIELDS)


def _read_once(repo, config_name, overrides_list, prepend_hydra, skip_missing):
    if not _own(repo):
        return READ_FILES(repo, config_name, overrides_list, prepend_hydra, skip_missing)
    choices = tuple(override.input_line for override in overrides_list if not _assigns(override))
    key = choices, config_name, prepend_hydra, skip_missing
    if key not in _read:
        found = READ_FILES(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        lines = {override.input_line for override in found.config_overrides}
        _read[key] = pickle.dumps((found.defaults, found.overrides.known_choices)), lines
    files, lines = _read[key]
    defaults, chosen = pickle.loads(files)
    values = [o for o in overrides_list if (_assigns(o) or o.input_line in lines) and not o.is_sweep_override()]
    return SimpleNamespace(defaults=defaults, config_overrides=values, overrides=SimpleNamespace(known_choices=chosen))


def _merge_once(self, defaults, repo):
    if not _own(repo):
        return MERGE_FILES(self, defaults, repo)
    key = pickle.dumps(defaults)
    if key not in _merged:
        _merged[key] = pickle.dumps(MERGE_FILES(self, defaults, repo))
    return pickle.loads(_merged[key])
