"""What the submission imports from its own folder."""

import optax


def optimizer(hyperparameters, step_hint):
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, hyperparameters.learning_rate, 5),
            optax.cosine_decay_schedule(hyperparameters.learning_rate, step_hint - 5),
        ],
        boundaries=[5],
    )
    tx = optax.adamw(schedule, b1=1.0 - hyperparameters.one_minus_beta1)
    return tx.init, tx.update
