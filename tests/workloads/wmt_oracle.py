"""The Transformer and beam search of `wmt`, transcribed in plain NumPy: slow, float64.

One sentence at a time and without padding, so that nothing needs a mask but the future.
`params` are arrays by slash-separated path, as in the JAX model.
"""

import numpy as np

EOS = 2
ABSENT = -1e7


def log_probs(params, config, source, read):
    """Of the token after each token that was read: [len(read), vocabulary]."""
    logits = transformer(params, config, source, read)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def transformer(params, config, source, read):
    """Logits [len(read), vocabulary]; source, read: lists of token numbers."""
    net = _Network(params, config)
    memory = net.embed(source)
    for i in range(config.num_layers):
        memory = net.encoder_layer(f"encoder_{i}", memory)
    memory = net.final_norm("encoder_norm", memory)
    x = net.embed(read)
    for i in range(config.num_layers):
        x = net.decoder_layer(f"decoder_{i}", x, memory)
    x = net.final_norm("decoder_norm", x)
    return x @ net.table.T / np.sqrt(config.embed_dim)


class _Network:
    def __init__(self, params, config):
        self.p = {path: np.asarray(a, np.float64) for path, a in params.items()}
        self.config = config
        self.table = self.p["embedding/embedding"]

    def embed(self, tokens):
        half = self.config.embed_dim // 2
        rows = []
        for position, token in enumerate(tokens):
            angles = [
                position * 10_000 ** (-k / (half - 1)) if half > 1 else position
                for k in range(half)
            ]
            rows.append(
                self.table[token] + np.array([*np.sin(angles), *np.cos(angles)])
            )
        return np.array(rows)

    def norm(self, name, x):
        mean = x.mean(axis=-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
        normal = (x - mean) / np.sqrt(variance + 1e-6)
        return normal * self.p[f"{name}/scale"] + self.p[f"{name}/bias"]

    def final_norm(self, name, x):
        return self.norm(name, x) if self.config.norm_position == "pre" else x

    def residual(self, name, x, function):
        if self.config.norm_position == "pre":
            return x + function(self.norm(name, x))
        return self.norm(name, x + function(x))

    def attention(self, name, x, memory, causal):
        """Kernels have axes (width, heads, size), that of the output the same reversed."""
        kernels = [self.p[f"{name}/{k}/kernel"] for k in ("query", "key", "value")]
        result = np.zeros_like(x)
        for head in range(self.config.num_heads):
            of_query, of_key, of_value = (kernel[:, head] for kernel in kernels)
            keys, values = memory @ of_key, memory @ of_value
            for i in range(len(x)):
                last = i + 1 if causal else len(memory)
                query = x[i] @ of_query * self.config.attention_temperature
                scores = keys[:last] @ query / np.sqrt(keys.shape[1])
                weights = np.exp(scores - scores.max())
                mixed = weights / weights.sum() @ values[:last]
                result[i] += mixed @ self.p[f"{name}/out/kernel"][head]
        return result

    def dense(self, name, x):
        return x @ self.p[f"{name}/kernel"] + self.p[f"{name}/bias"]

    def mlp(self, name, x):
        hidden = self.dense(f"{name}/hidden", x)
        is_tanh = self.config.activation == "tanh"
        hidden = np.tanh(hidden) if is_tanh else np.maximum(hidden, 0)
        if self.config.is_gated:
            hidden = hidden * self.dense(f"{name}/gate", x)
        return self.dense(f"{name}/out", hidden)

    def encoder_layer(self, name, x):
        x = self.residual(
            f"{name}/attention_norm",
            x,
            lambda h: self.attention(f"{name}/attention", h, h, causal=False),
        )
        return self.residual(
            f"{name}/mlp_norm", x, lambda h: self.mlp(f"{name}/mlp", h)
        )

    def decoder_layer(self, name, x, memory):
        x = self.residual(
            f"{name}/self_attention_norm",
            x,
            lambda h: self.attention(f"{name}/self_attention", h, h, causal=True),
        )
        x = self.residual(
            f"{name}/cross_attention_norm",
            x,
            lambda h: self.attention(
                f"{name}/cross_attention", h, memory, causal=False
            ),
        )
        return self.residual(
            f"{name}/mlp_norm", x, lambda h: self.mlp(f"{name}/mlp", h)
        )


class _Search:
    """The state of one sentence: (score, tokens) pairs in increasing order."""

    def __init__(self, beam):
        self.live = [(0.0 if i == 0 else ABSENT, [0]) for i in range(beam)]
        self.finished = [(ABSENT, None)] * beam


def beam_search(predictors, *, beam, exponent, max_length):
    """Answers of all sentences, lists of tokens without the leading 0, and the steps.

    predictors: one function a sentence, from the tokens read to the log-probabilities of
    the next one. The published rule: all sentences go on until every one may stop.
    """
    searches = [_Search(beam) for _ in predictors]
    steps = 0
    while steps < max_length - 1:
        if all(_may_stop(search, exponent, max_length) for search in searches):
            break
        for search, predict in zip(searches, predictors, strict=True):
            _advance(search, predict, beam, exponent)
        steps += 1
    return [_answer(search) for search in searches], steps


def _penalty(length, exponent):
    return ((5 + length) / 6) ** exponent


def _may_stop(search, exponent, max_length):
    best_live = search.live[-1][0] / _penalty(max_length, exponent)
    return all(score > best_live for score, _ in search.finished)


def _advance(search, predict, beam, exponent):
    candidates = []
    for score, tokens in search.live:
        for token, log_prob in enumerate(predict(tokens)):
            candidates.append((score + log_prob, [*tokens, token]))
    candidates.sort(key=lambda pair: -pair[0])  # stable: lower index first
    candidates = candidates[: 2 * beam]
    live, ended = [], []
    for score, tokens in candidates:
        if tokens[-1] == EOS:
            ended.append((score / _penalty(len(tokens) - 1, exponent), tokens))
        else:
            live.append((score, tokens))
    search.live = live[:beam][::-1]
    finished = sorted(search.finished + ended, key=lambda pair: -pair[0])
    search.finished = finished[:beam][::-1]


def _answer(search):
    score, tokens = search.finished[-1]
    if score <= ABSENT:
        tokens = search.live[-1][1]
    return tokens[1:]
