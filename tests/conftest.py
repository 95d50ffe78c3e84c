"""Strict JAX for every test: rank promotion raises, NaNs are caught, warnings are errors."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import jax
import pytest


def pytest_configure(config):
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_debug_nans", True)
    jax.config.update("jax_compilation_cache_dir", str(config.rootpath / ".cache" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Each file's programs are of no use to the next; kept, they would fill several gigabytes per worker."""
    yield
    jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    """Float64 in the body of the test; restored afterwards."""
    with jax.enable_x64(True):
        yield
