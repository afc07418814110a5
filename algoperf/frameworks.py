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
class Code:
    """Modules of a framework, by what the rules of a trial must know of their code."""

    packages: tuple[
        str, ...
    ] = ()  # with native code that opens files and starts threads
    functions: tuple[
        str, ...
    ] = ()  # where models get their functions from; "x." is all below x
    compilers: tuple[str, ...] = ()  # they start programs and write files
    self_changing: tuple[str, ...] = ()  # they replace their own functions as they work
    # Of the compiler that keeps threads and processes waiting, as paths below the package.
    helper_threads: tuple[str, str] | None = None
    helper_program: tuple[str, str] | None = None


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
    code: Code = field(default_factory=Code)

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
        code=Code(
            packages=("jax", "jaxlib"),
            functions=("jax.numpy", "jax.nn", "jax.lax", "flax.linen"),
            compilers=("jax", "jaxlib"),
        ),
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
        code=Code(
            packages=("torch", "triton"),
            functions=("torch.nn.functional", "torch.nn.modules", "torch.nn.modules."),
            compilers=("torch._inductor", "torch._dynamo", "triton"),
            self_changing=(
                "torch.compiler",
                "torch._dynamo",
                "torch._inductor",
                "torch._functorch",
            ),
            helper_threads=("torch", "_inductor"),
            helper_program=("torch", "_inductor/compile_worker/__main__.py"),
        ),
    ),
}


def code_of_all(what: str) -> tuple[str, ...]:
    """The modules of all frameworks that a field of `Code` names."""
    return tuple(name for f in FRAMEWORKS.values() for name in getattr(f.code, what))


def check_framework(name: str) -> Framework:
    """The framework of that name, without importing it; an error that lists all if none is."""
    if name not in FRAMEWORKS:
        raise UnknownName(
            f"No framework named {name!r}.{near(name, FRAMEWORKS)} "
            f"Choose one of: {', '.join(FRAMEWORKS)}."
        )
    return FRAMEWORKS[name]
