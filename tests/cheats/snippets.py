"""What a submission might do to be judged better than it is: code by name, by what finds it.

`OF_BOTH`, `OF_PYTORCH` and `OF_JAX` change something that an evaluation, the clock or the logs
depend on. `ACTS` read, write, send or start something. `WORK` computes while the clock stands
still. In acts, `data` and `logs` are paths of protected folders.
"""

OF_BOTH = {
    # Logs and times
    "csv rows": "import csv\ncsv.DictWriter.writerows = lambda self, rows: None",
    "csv writer": "import csv\ncsv.writer = lambda *a, **k: None",
    "csv reader": "import csv\ncsv.DictReader.__next__ = lambda self: {}",
    "json text": "import json\njson.dumps = lambda *a, **k: '{}'",
    "json encoder": "import json.encoder\njson.encoder.JSONEncoder.encode = lambda s, o: ''",
    "replacing files": "import os\nos.replace = lambda *a: None",
    "syncing files": "import os\nos.fsync = lambda *a: None",
    "writing to a pipe": "import os\nos.write = lambda fd, data: len(data)",
    "text of a path": "import pathlib\npathlib.Path.write_text = lambda *a, **k: 0",
    "opening a path": "import pathlib\npathlib.Path.open = lambda *a, **k: None",
    "checksums": "import hashlib\nhashlib.sha256 = hashlib.md5",
    "time": "import time\ntime.time = lambda: 0.0",
    "perf_counter": "import time\ntime.perf_counter = lambda: 0.0",
    "sleep": "import time\ntime.sleep = lambda s: None",
    "threads": "import threading\nthreading.Thread.start = lambda self: None",
    "events": "import threading\nthreading.Event.wait = lambda self, s=None: True",
    "an outcome's value": (
        "from algoperf.outcome import Outcome\nOutcome.INVALID._value_ = 'reached'"
    ),
    "an outcome's name": (
        "from algoperf.outcome import Outcome\nOutcome.INVALID._name_ = 'REACHED'"
    ),
    "the prefixes of splits": (
        "from algoperf.runner import evaluation\n"
        "evaluation.SPLIT_PREFIX['validation'] = 'train'"
    ),
    "the evaluated splits": (
        "object.__setattr__(workload.definition, 'evaluated_splits', ('eval_train',))"
    ),
    "a column's name": "from algoperf import evaluations\nevaluations.STEP = 'score'",
    "a tolerance": (
        "from algoperf.runner.fairness import stamps\nstamps.ABSOLUTE = 1e9"
    ),
    "a period of the sampler": (
        "from algoperf.runner.fairness import untimed\nuntimed._HITS_OF_PHASE = 10**9"
    ),
    "the length of notes": (
        "from algoperf.runner.fairness import audit_hook\naudit_hook._MAX_NOTES = 0"
    ),
    "the clock's class": (
        "from algoperf.runner.clock import Clock\nClock.seconds = lambda self, p: 0.0"
    ),
    "a property of the clock": (
        "from algoperf.runner.clock import Clock\n"
        "Clock.submission_seconds = property(lambda self: 0.0)"
    ),
    "the row's JSON": (
        "from algoperf.evaluations import EvaluationRow\n"
        "EvaluationRow.to_json = lambda self: {}"
    ),
    "the budget": "workload.__dict__['_budget_seconds'] = 1e9",
    "the evaluation period": "workload.__dict__['_eval_period_seconds'] = 1e-9",
    "the target": ("object.__setattr__(workload.definition.target, 'validation', 0.0)"),
    "the code of a harness function": (
        "from algoperf.runner.trial import Trial\n"
        "Trial._spent.__code__ = (lambda self: None).__code__"
    ),
    "the defaults of a harness function": (
        "from algoperf.runner.clock import Clock\nClock.__init__.__kwdefaults__ = {}"
    ),
    # NumPy and Python
    "a function of numpy": "np.isfinite = lambda x: np.ones(1, bool)",
    "numpy's sum": "import numpy._core._methods as m\nm.umr_sum = lambda *a, **k: 0",
    "numpy's mean": "import numpy._core._methods as m\nm._mean = lambda *a, **k: 1.0",
    "numpy's reduction": (
        "import numpy._core.fromnumeric as f\nf._wrapreduction = lambda *a, **k: 1.0"
    ),
    "another function of numpy for one": "np.mean = np.max",
    "loading of numpy": "np.load = lambda *a, **k: None",
    "math": "import math\nmath.isfinite = lambda x: True",
    "sum": "import builtins\nbuiltins.sum = lambda *a: 1",
    "a name that hides a builtin": (
        "from algoperf.runner import evaluation\nevaluation.dict = lambda *a, **k: {}"
    ),
    "a module in another's place": (
        "import sys, types\nsys.modules['csv'] = types.ModuleType('csv')"
    ),
    "a module that is imported late": (
        "import sys, types\nsys.modules['safetensors.numpy'] = types.ModuleType('x')"
    ),
    "an importer": (
        "import sys\nclass Finder:\n    def find_spec(self, *a): return None\n"
        "sys.meta_path.insert(0, Finder())"
    ),
    "a hook for paths": "import sys\nsys.path_hooks.insert(0, lambda p: None)",
    "importing": "import importlib\nimportlib.import_module = lambda n, p=None: None",
    "SIGALRM": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)",
    "SIGTERM": "import signal\nsignal.signal(signal.SIGTERM, lambda *a: None)",
    "SIGUSR1": "import signal\nsignal.signal(signal.SIGUSR1, lambda *a: None)",
    "SIGPROF": "import signal\nsignal.signal(signal.SIGPROF, lambda *a: None)",
    "a timer": "import signal\nsignal.setitimer(signal.ITIMER_VIRTUAL, 500)",
    "tracing": "import sys\nsys.settrace(lambda *a: None)",
    "profiling": "import sys\nsys.setprofile(lambda *a: None)",
    "garbage collection": "import gc\ngc.callbacks.append(lambda *a: None)",
    "the size of files": (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))"
    ),
    "open files": (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, "
        "(64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))"
    ),
    "recursion": "import sys\nsys.setrecursionlimit(500)",
    "turns of threads": "import sys\nsys.setswitchinterval(100)",
    "an environment variable": "import os\nos.environ['TMPDIR'] = '/tmp/mine'",
    "closing": "import contextlib\ncontextlib.closing.__exit__ = lambda *a: None",
    "dataclasses": "import dataclasses\ndataclasses.asdict = lambda *a, **k: {}",
    "another thread's queue": "import queue\nqueue.Queue.get = lambda *a, **k: None",
    "copies": "import copy\ncopy.deepcopy = lambda x, *a: x",
}
OF_PYTORCH = {
    "a comparison of tensors": (
        "torch.Tensor.__eq__ = lambda a, b: torch.ones(a.shape, dtype=torch.bool)"
    ),
    "copies to the host": "torch.Tensor.cpu = lambda self: self",
    "copies to numpy": "torch.Tensor.numpy = lambda self: None",
    "a copy of values": "torch.Tensor.copy_ = lambda self, other: self",
    "a sum of tensors": "torch.Tensor.sum = lambda self, *a: self",
    "argmax": "torch.argmax = lambda *a, **k: 0",
    "argmin for argmax": "torch.argmax = torch.argmin",
    "equality": "torch.eq = torch.ne",
    "one function of its own for another": (
        "torch.nn.functional.cross_entropy = torch.nn.functional.mse_loss"
    ),
    "the loss": "torch.nn.functional.cross_entropy = lambda *a, **k: 0",
    "the code of a function": (
        "torch.nn.functional.cross_entropy.__code__ = (lambda *a, **k: 0).__code__"
    ),
    "the code of a method": (
        "torch.nn.Linear.forward.__code__ = (lambda self, x: x).__code__"
    ),
    "a layer": "torch.nn.Linear.forward = lambda self, x: x",
    "a call of modules": "torch.nn.Module.__call__ = lambda self, x: x",
    "parameters of modules": "torch.nn.Module.named_parameters = lambda self: ()",
    "modes of modules": "torch.nn.Module.train = lambda self, mode=True: self",
    "gradients": "torch.no_grad.__enter__ = lambda self: None",
    "finiteness": "torch.isfinite = lambda x: torch.ones(())",
    "tensors of arrays": "torch.from_numpy = lambda x: None",
    "a dispatch mode": (
        "from torch.utils._python_dispatch import TorchDispatchMode\n"
        "class Mode(TorchDispatchMode):\n"
        "    def __torch_dispatch__(self, f, types, args=(), kwargs=None):\n"
        "        return f(*args, **(kwargs or {}))\n"
        "mode = Mode(); mode.__enter__()"
    ),
    "a function mode": (
        "from torch.overrides import TorchFunctionMode\n"
        "class Mode(TorchFunctionMode):\n"
        "    def __torch_function__(self, f, types, args=(), kwargs=None):\n"
        "        return f(*args, **(kwargs or {}))\n"
        "mode = Mode(); mode.__enter__()"
    ),
    "a kernel": (
        "global library\nlibrary = torch.library.Library('aten', 'IMPL')\n"
        "library.impl('eq.Tensor', lambda a, b: a, 'CPU')"
    ),
    "a transform": "torch._C._functorch._grad_increment_nesting()",
    "autocast": "torch.autocast('cpu').__enter__()",
    "the default dtype": "torch.set_default_dtype(torch.float64)",
    "the default device": "torch.set_default_device('meta')",
    "a hook on the evaluated module": (
        "workload._model._evaluated.register_forward_hook(lambda m, i, o: o)"
    ),
    "a hook before a part of it": (
        "part = list(workload._model._evaluated.modules())[-1]\n"
        "part.register_forward_pre_hook(lambda m, i: i)"
    ),
    "its forward": "workload._model._evaluated.forward = lambda x: x",
    "the forward of a part of it": (
        "list(workload._model._evaluated.modules())[-1].forward = lambda x: x"
    ),
    "a part's class": (
        "part = list(workload._model._evaluated.modules())[-1]\n"
        "part.__class__ = type('Own', (type(part),), {})"
    ),
    "hooks on all modules": (
        "torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: o)"
    ),
    "losses of the benchmark": (
        "from algoperf.pytorch_backend import losses\nlosses.loss = lambda *a: {}"
    ),
    "copies of the benchmark": (
        "from algoperf.pytorch_backend import model\nmodel.to_numpy = lambda t: None"
    ),
    "the array namespace": (
        "import array_api_compat.torch as xp\nxp.argmax = lambda *a, **k: 0"
    ),
}
OF_JAX = {
    "device_get": "jax.device_get = lambda x: x",
    "device_get inside": "import jax._src.api as api\napi.device_get = lambda x: x",
    "jit": "jax.jit = lambda f, **k: f",
    "argmax": "jnp.argmax = lambda *a, **k: 0",
    "equality": "jnp.equal = jnp.not_equal",
    "log_softmax": "jax.nn.log_softmax = lambda x, **k: x",
    "an operation": "jax.lax.eq = lambda a, b: a",
    "a tree's map": "jax.tree_util.tree_map = lambda f, t, *a, **k: t",
    "a tree's leaves": "jax.tree.leaves = lambda t, **k: []",
    "a lowering rule": (
        "from jax._src.interpreters import mlir\n"
        "mlir.register_lowering(jax.lax.eq_p, mlir.lower_fun(\n"
        "    lambda a, b: jnp.zeros(a.shape) < 1, multiple_results=False))"
    ),
    "a lowering rule for one platform": (
        "from jax._src.interpreters import mlir\n"
        "mlir.register_lowering(jax.lax.argmax_p, mlir.lower_fun(\n"
        "    lambda a, **k: a, multiple_results=False), platform='cpu')"
    ),
    "a batching rule": (
        "from jax.interpreters import batching\n"
        "batching.primitive_batchers[jax.lax.eq_p] = lambda *a, **k: None"
    ),
    "how a primitive is run": "jax.lax.eq_p.def_impl(lambda a, b: a)",
    "how a primitive is bound": "jax.lax.eq_p.bind = lambda *a, **k: None",
    "a layer": ("import flax.linen as nn\nnn.Dense.__call__ = lambda self, x: x"),
    "applying a module": (
        "import flax.linen as nn\nnn.Module.apply = lambda self, *a, **k: None"
    ),
    "precision": "jax.config.update('jax_default_matmul_precision', 'bfloat16')",
    "64 bits": "jax.config.update('jax_enable_x64', True)",
    "no compiling": "jax.config.update('jax_disable_jit', True)",
    "losses of the benchmark": (
        "from algoperf.jax_backend import losses\nlosses.loss = lambda *a: {}"
    ),
    "the compiled evaluation": (
        "workload._model.__dict__['_compiled_evaluate'] = lambda *a: {}"
    ),
    "parameter shapes": "workload._model.check_params = lambda p: None",
    "waiting": "jax.block_until_ready = lambda x: x",
}
ACTS = {
    "open": "open(data + '/manifest.json').read()",
    "bytes of a name": "open((data + '/manifest.json').encode()).read()",
    "a path": "import pathlib\npathlib.Path(data, 'manifest.json').read_bytes()",
    "a folder's descriptor": (
        "folder = os.open(os.path.dirname(data), os.O_RDONLY)\n"
        "name = os.path.basename(data) + '/manifest.json'\n"
        "os.close(os.open(name, os.O_RDONLY, dir_fd=folder))"
    ),
    "a list by descriptor": (
        "folder = os.open('/', os.O_RDONLY)\n"
        "inner = os.open(data[1:], os.O_RDONLY, dir_fd=folder)\nos.listdir(inner)"
    ),
    "a link": "os.symlink(data, own + '/link')\nopen(own + '/link/manifest.json').close()",
    "a hard link": "os.link(data + '/manifest.json', own + '/copy.json')",
    "the current folder": "os.chdir(data)\nopen('manifest.json').close()",
    "the process's folder": "open('/proc/self/root' + data + '/manifest.json').close()",
    "an array": "np.memmap(data + '/manifest.json', mode='r')",
    "a copied tree": "import shutil\nshutil.copytree(data, own + '/all')",
    "a list": "os.listdir(data)",
    "a search": "import glob\nglob.glob(data + '/*')",
    "a database": "import sqlite3\nsqlite3.connect(data + '/x.db')",
    "logs": "open(logs + '/eval_measurements.csv', 'a').close()",
    "moved logs": "os.rename(own + '/x', logs + '/x')",
    "cut logs": "os.truncate(logs + '/x', 0)",
    "a shell": "os.system('cat ' + data + '/manifest.json > /dev/null')",
    "a shell's variable": (
        "os.environ['FOLDER'] = data\nos.system('cat $FOLDER/manifest.json > /dev/null')"
    ),
    "popen": "os.popen('ls ' + data).read()",
    "a program": (
        "import subprocess\nsubprocess.run(['cat', data + '/manifest.json'], "
        "capture_output=True)"
    ),
    "a shell's text": (
        "import subprocess\nsubprocess.run(['sh', '-c', 'cat ' + data + '/manifest.json'], "
        "capture_output=True)"
    ),
    "an option's value": (
        "import subprocess\nsubprocess.run(['dd', 'if=' + data + '/manifest.json'], "
        "capture_output=True)"
    ),
    "the folder above": (
        "import subprocess\n"
        "subprocess.run(['cp', '-r', os.path.dirname(data), own + '/all'])"
    ),
    "a spawned program": (
        "os.waitpid(os.posix_spawn('/bin/cat', ['cat', data + '/manifest.json'], "
        "os.environ), 0)"
    ),
    "spawnvp": "os.spawnvp(os.P_WAIT, 'true', ['true', data])",
    "a forked child": (
        "child = os.fork()\n"
        "if not child:\n    open(data + '/manifest.json').close(); os._exit(0)\n"
        "os.waitpid(child, 0)"
    ),
    "a datagram": (
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        ".sendto(b'x', ('127.0.0.1', 9))"
    ),
    "a message": (
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        ".sendmsg([b'x'], [], 0, ('127.0.0.1', 9))"
    ),
    "a connection": (
        "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\n"
        "except OSError: pass"
    ),
    "listening": ("import socket\nsocket.socket().bind(('127.0.0.1', 0))"),
    "a name's address": "import socket\nsocket.gethostbyname('localhost')",
    "a local socket": (
        "import socket\ns = socket.socket(socket.AF_UNIX)\n"
        "try: s.connect(old_socket)\nexcept OSError: pass"
    ),
    "an abstract socket": (
        "import socket\ntry: socket.socket(socket.AF_UNIX).connect('\\0abstract')\n"
        "except OSError: pass"
    ),
    "an audit hook": "import sys\nsys.addaudithook(lambda event, arguments: None)",
    "the system's library": "import ctypes\nctypes.CDLL(None).open",
    "a thread": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    ),
    "a child": "import subprocess\nsubprocess.Popen(['sleep', '60'])",
    "a detached child": (
        "import subprocess\nsubprocess.Popen(['sleep', '60'], env={}, "
        "start_new_session=True)"
    ),
    "a pool that works": (
        "import concurrent.futures, time\n"
        "concurrent.futures.ThreadPoolExecutor(1).submit(time.sleep, 60)\n"
        "time.sleep(0.1)"
    ),
}
WORK = {
    "a function": "def act(): busy()",
    "a lambda": "act = lambda: busy()",
    "a generator": "def act(): list(busy() for _ in range(1))",
    "a finalizer": (
        "class Last:\n    def __del__(self): busy()\ndef act():\n    last = Last(); del last"
    ),
    "a weak reference": (
        "import weakref\nclass Any: pass\ndef act():\n    thing = Any()\n"
        "    weakref.finalize(thing, busy)\n    del thing"
    ),
    "a property": (
        "class Lazy:\n    @property\n    def value(self): busy()\ndef act(): Lazy().value"
    ),
    "a protocol": (
        "class Lazy:\n    def __array__(self, *a, **k):\n        busy()\n"
        "        return np.zeros(1)\ndef act(): np.asarray(Lazy())"
    ),
    "text": "def act(): exec('busy()')",
    "text with another file's name": (
        "exec(compile('def act():\\n    while time.perf_counter() < until(): pass', "
        "'/usr/lib/python3/json.py', 'exec'))"
    ),
    "a pool that was idle": (
        "import concurrent.futures\nPOOL = concurrent.futures.ThreadPoolExecutor(1)\n"
        "def act(): POOL.submit(busy).result()"
    ),
    "a callback of the collector": (
        "import gc\ndef act():\n    gc.callbacks.append(lambda *a: busy())\n"
        "    gc.collect()\n    gc.callbacks.pop()"
    ),
    "a signal": (
        "import signal, os\ndef act():\n"
        "    signal.signal(signal.SIGUSR2, lambda *a: busy())\n"
        "    os.kill(os.getpid(), signal.SIGUSR2)\n    time.sleep(0.01)"
    ),
}
