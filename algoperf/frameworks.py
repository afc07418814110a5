"""What the harness must know of a framework without importing it: one value each.

To add a framework: a package with `make_backend(**options) -> Backend`, and a line here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from algoperf.errors import UnknownName, near


@dataclass(frozen=True)
class Signs:
    """Modules whose import tells that a file is written for a framework, the surest first.

    Of two frameworks that a file imports, one may serve for a schedule only.
    """

    helpers: frozenset[str] = frozenset()  # our own public ones
    framework: frozenset[str] = frozenset()
    libraries: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Framework:
    """Facts of one framework."""

    module: str  # has make_backend(**options) -> Backend
    extra: str  # of our package: installs what the framework needs
    # What a trial imports, late in part: one that is missing would end it after its first steps.
    packages: tuple[str, ...] = ()
    versions_of: tuple[str, ...] = ()  # packages whose versions are logged
    signs: Signs = field(default_factory=Signs)
    # `python -m` this COUNT MODULE ARGUMENTS… starts a run of several processes; None: the
    # framework uses all devices from one.
    process_starter: str | None = None
    can_compile: bool = False  # models, on demand: `make_backend(compile=…)`
    # Variables with which another framework, imported for a schedule or a table, leaves the
    # devices' memory to this one.
    restrains_others: Mapping[str, str] = field(default_factory=dict)

    @property
    def uses_processes(self) -> bool:
        """Whether a run on several devices has several processes."""
        return self.process_starter is not None


FRAMEWORKS = {
    "jax": Framework(
        module="algoperf.jax_backend",
        extra="jax",
        packages=("jax", "flax", "safetensors", "ml_dtypes"),
        versions_of=("jax", "jaxlib", "flax", "optax"),
        signs=Signs(
            frozenset({"jax_sharding_utils"}),
            frozenset({"jax", "flax"}),
            frozenset({"optax"}),
        ),
        restrains_others={"TF_FORCE_GPU_ALLOW_GROWTH": "true"},
    ),
    "pytorch": Framework(
        module="algoperf.pytorch_backend",
        extra="torch",
        packages=("torch", "safetensors", "ml_dtypes", "array_api_compat"),
        versions_of=("torch",),
        signs=Signs(frozenset({"pytorch_utils"}), frozenset({"torch"})),
        process_starter="algoperf.pytorch_backend.processes",
        can_compile=True,
        restrains_others={
            "JAX_PLATFORMS": "cpu",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        },
    ),
}


def check_framework(name: str) -> Framework:
    """The framework of that name, without importing it; an error that lists all if none is."""
    if name not in FRAMEWORKS:
        raise UnknownName(
            f"No framework named {name!r}.{near(name, FRAMEWORKS)} "
            f"Choose one of: {', '.join(FRAMEWORKS)}."
        )
    return FRAMEWORKS[name]
