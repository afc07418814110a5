"""Habits of honest submissions: code that people write around the update, by framework.

Each is code for the top of a file and code for the beginning of `update_params`. The rest of
the file is the plainest training there is.
"""

from dataclasses import dataclass

_REST = """
def get_batch_size(workload_name):
    return {"mnist": 64}[workload_name]


def data_selection(workload, input_queue, optimizer_state, current_param_container,
                   model_state, hyperparameters, global_step, rng):
    del workload, optimizer_state, current_param_container, model_state
    del hyperparameters, global_step, rng
    return next(input_queue)
"""
PYTORCH = """
import torch
from algoperf import spec
from algoperf.pytorch_utils import pytorch_setup
USE_PYTORCH_DDP, RANK, DEVICE, N_GPUS = pytorch_setup()
{top}

def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    del workload, model_state, rng
    return {{"optimizer": torch.optim.SGD(model_params.parameters(), lr=0.1)}}


def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results,
                  global_step, rng, train_state=None):
    model = current_param_container
    optimizer = optimizer_state["optimizer"]
{update}
    model.train()
    optimizer.zero_grad()
    logits, new_model_state = workload.model_fn(
        params=model, augmented_and_preprocessed_input_batch=batch, model_state=model_state,
        mode=spec.ForwardPassMode.TRAIN, rng=rng, update_batch_norm=True)
    losses = workload.loss_fn(label_batch=batch["targets"], logits_batch=logits,
                              mask_batch=batch.get("weights"), label_smoothing=0.1)
    loss = losses["summed"] / losses["n_valid_examples"]
    loss.backward()
    optimizer.step()
    return optimizer_state, model, new_model_state
""" + _REST.replace("{", "{{").replace("}", "}}")
JAX = """
import functools
import jax
import jax.numpy as jnp
import optax
from algoperf import jax_sharding_utils, spec
{top}

def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape_tuple), workload.param_shapes)
    tx = optax.sgd(0.1)
    return tx.init(zeros), tx.update


@functools.partial(jax.jit, static_argnums=(0, 1))
def train_step(workload, update_fn, params, model_state, state, batch, rng):
    def loss_fn(params):
        logits, new_model_state = workload.model_fn(
            params, batch, model_state, spec.ForwardPassMode.TRAIN, rng,
            update_batch_norm=True)
        losses = workload.loss_fn(label_batch=batch["targets"], logits_batch=logits,
                                  mask_batch=batch.get("weights"))
        return losses["summed"] / losses["n_valid_examples"], new_model_state
    grads, new_model_state = jax.grad(loss_fn, has_aux=True)(params)
    updates, state = update_fn(grads, state, params)
    return optax.apply_updates(params, updates), new_model_state, state


def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results,
                  global_step, rng, train_state=None):
    state, update_fn = optimizer_state
{update}
    params, model_state, state = train_step(
        workload, update_fn, current_param_container, model_state, state, batch, rng)
    return (state, update_fn), params, model_state
""" + _REST.replace("{", "{{").replace("}", "}}")


@dataclass(frozen=True)
class Habit:
    """Code at the top of a file, and in every step; packages without which it is skipped."""

    top: str = ""
    update: str = "pass"
    needs: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()  # beside the submission

    def written(self, template: str) -> str:
        """The whole file."""
        lines = "\n".join(f"    {line}" for line in self.update.splitlines())
        return template.format(top=self.top, update=lines)


BOTH = {
    "absl logging": Habit(
        "from absl import logging", "logging.info('step %d', global_step)"
    ),
    "absl flags": Habit("from absl import flags\nFLAGS = flags.FLAGS"),
    "print options of numpy": Habit(
        "import numpy as np\nnp.set_printoptions(precision=3)\nnp.seterr(all='ignore')"
    ),
    "warnings ignored": Habit("import warnings\nwarnings.filterwarnings('ignore')"),
    "logging set up": Habit(
        "import logging\nlogging.basicConfig(level=logging.INFO)\n"
        "logging.getLogger('jax').setLevel(logging.ERROR)"
    ),
    "variables of tokenizers": Habit(
        "import os\nos.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')\n"
        "os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'"
    ),
    "memory of XLA": Habit(
        "import os\nos.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'\n"
        "os.environ['XLA_PYTHON_CLIENT_MEM_FRACTION'] = '.8'"
    ),
    "seeds": Habit(
        "import os, random\nimport numpy as np\nos.environ['PYTHONHASHSEED'] = '0'",
        "random.seed(0)\nnp.random.seed(global_step)",
    ),
    "no garbage collection": Habit(
        "import gc\ngc.disable()",
        "if global_step == 0:\n    gc.collect()\n    gc.freeze()",
    ),
    "a progress bar": Habit(
        "import tqdm\nBAR = tqdm.tqdm(total=3)", "BAR.update(1)", ("tqdm",)
    ),
    "figures": Habit(
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt",
        needs=("matplotlib",),
    ),
    "wandb, disabled": Habit(
        "import os\nos.environ['WANDB_MODE'] = 'disabled'\nimport wandb\n"
        "RUN = wandb.init(project='x')",
        "wandb.log({'step': global_step})",
        ("wandb",),
    ),
    "scalars": Habit(
        update="if workload.metrics_logger is not None:\n"
        "    workload.metrics_logger.append_scalar_metrics({'x': 1.0}, global_step)"
    ),
    "a pool that has ended": Habit(
        "from concurrent.futures import ThreadPoolExecutor",
        "with ThreadPoolExecutor(2) as pool:\n    assert list(pool.map(abs, [-1])) == [1]",
    ),
    "the old name": Habit(
        "import algorithmic_efficiency\nfrom algorithmic_efficiency import spec as old\n"
        "assert old is spec"
    ),
    "a helper beside it": Habit(
        "from helper import RATE\nfrom .helper import RATE as again\nassert RATE == again",
        files=(("helper.py", "RATE = 0.1"),),
    ),
    "a helper imported late": Habit(
        update="from helper import RATE\nassert RATE == 0.1",
        files=(("helper.py", "RATE = 0.1"),),
    ),
    "its folder on the path": Habit(
        "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\n"
        "import helper",
        files=(("helper.py", "RATE = 0.1"),),
    ),
    "a package that may be absent": Habit(
        "try:\n    import no_such_package\nexcept ImportError:\n    no_such_package = None"
    ),
    "types only": Habit(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import no_such_package"
    ),
    "training that ends": Habit(
        update="if global_step == 2:\n    raise spec.TrainingCompleteError"
    ),
    "time that is left": Habit(
        update="assert train_state['is_time_remaining']\n"
        "assert train_state['accumulated_submission_time'] >= 0"
    ),
    "a temporary file": Habit(
        "import tempfile",
        "with tempfile.NamedTemporaryFile('w') as file:\n    file.write('x')",
    ),
    "a class of its own": Habit(
        "import dataclasses\n@dataclasses.dataclass\nclass State:\n    n: int = 0\nSTATE = State()",
        "STATE.n += 1",
    ),
    "timing of its own": Habit(
        "import time", "start = time.perf_counter()\nassert time.time() > 0 <= start"
    ),
}
OF_PYTORCH = {
    "optax for a schedule": Habit(
        "import optax\nSCHEDULE = optax.cosine_decay_schedule(0.1, 10)",
        "float(SCHEDULE(global_step))",
        ("optax",),
    ),
    "cudnn": Habit(
        "torch.backends.cudnn.benchmark = True\ntorch.backends.cudnn.allow_tf32 = True\n"
        "torch.backends.cuda.matmul.allow_tf32 = True"
    ),
    "high precision": Habit("torch.set_float32_matmul_precision('high')"),
    "determinism": Habit(
        "import os\nos.environ['CUBLAS_WORKSPACE_CONFIG'] = ':4096:8'\n"
        "torch.backends.cudnn.deterministic = True\ntorch.backends.cudnn.benchmark = False\n"
        "torch.use_deterministic_algorithms(True, warn_only=True)\ntorch.manual_seed(0)"
    ),
    "the compiler's limits": Habit(
        "import torch._dynamo\ntorch._dynamo.config.cache_size_limit = 64\n"
        "torch._dynamo.config.suppress_errors = True"
    ),
    "the compiler": Habit("STEP = torch.compile(lambda x: x, backend='eager')"),
    "threads": Habit("torch.set_num_threads(1)"),
    "autocast": Habit(
        update="with torch.autocast('cpu', dtype=torch.bfloat16):\n    torch.ones(2) @ "
        "torch.ones(2)"
    ),
    "hooks on the model": Habit(
        update="if global_step == 0:\n"
        "    model.register_forward_hook(lambda module, inputs, output: None)"
    ),
    "hooks on parameters": Habit(
        update="if global_step == 0:\n    for p in model.parameters():\n"
        "        p.register_hook(lambda grad: grad)"
    ),
    "clipping": Habit(
        update="torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)"
    ),
    "a closure": Habit(update="optimizer.step(lambda: torch.tensor(0.0))"),
    "swa": Habit("from torch.optim.swa_utils import AveragedModel, update_bn"),
    "vmap": Habit("from torch.func import functional_call, grad, vmap"),
    "distributed": Habit(
        "import torch.distributed as dist\nimport torch.distributed.nn as dist_nn\n"
        "from torch.nn.parallel import DistributedDataParallel as DDP\n"
        "assert not (USE_PYTORCH_DDP or dist.is_initialized())"
    ),
    "anomalies": Habit(
        "torch.autograd.set_detect_anomaly(False)\ntorch.set_printoptions(precision=3)"
    ),
}
OF_JAX = {
    "chex": Habit(
        "import chex\n@chex.dataclass\nclass Point:\n    x: int = 0",
        "chex.assert_tree_all_finite(current_param_container)",
        ("chex",),
    ),
    "messages of JAX": Habit(
        "jax.config.update('jax_traceback_filtering', 'off')\n"
        "jax.config.update('jax_log_compiles', False)"
    ),
    "random bits": Habit("jax.config.update('jax_threefry_partitionable', True)"),
    "more exact products": Habit(
        "jax.config.update('jax_default_matmul_precision', 'float32')"
    ),
    "no 64 bits": Habit("jax.config.update('jax_enable_x64', False)"),
    "shardings": Habit(
        update="replicated = jax_sharding_utils.get_replicate_sharding()\n"
        "jax.device_put(rng, replicated)\n"
        "jax_sharding_utils.shard_along_batch_dim({'x': jnp.zeros(8)})"
    ),
    "callbacks": Habit(update="jax.debug.callback(lambda x: None, jnp.zeros(()))"),
    "a named tuple": Habit(
        "from typing import NamedTuple\nclass S(NamedTuple):\n    count: jax.Array",
        "S(jnp.zeros(()))",
    ),
    "flax": Habit(
        "import flax\nfrom flax import traverse_util\nfrom flax.core import FrozenDict",
        "traverse_util.flatten_dict(current_param_container)",
        ("flax",),
    ),
    "waiting": Habit(update="jax.block_until_ready(current_param_container)"),
}
