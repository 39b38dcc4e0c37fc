"""What people who come from another library type, or look for where no field is: which field is ours, what differs."""

_UNIT = (
    "the unit follows from what is drawn: rows, or clients and users with federated=, or owners of rows with "
    "privacy.records_per_unit=k"
)
_CLIP_NORM = "the bound on one unit's L2 norm is privacy.clip_norm, and noise is privacy.noise_multiplier times it"
_EPSILON = "the target is privacy.epsilon, of the whole run; noise is calibrated to it"
_NOISE = "standard deviation / clip norm is privacy.noise_multiplier; leave it out, and privacy.epsilon chooses it"
_DELTA = "δ is privacy.delta, below 1 / units"
_SIZE = (
    "cohorts are drawn at a rate, optimizer.sampling_rate (or of federated.clients_per_round), so that a size is the "
    "EXPECTED one: rate = size / training rows"
)
_RATE = "the chance of a unit to be in a step is optimizer.sampling_rate, or federated.clients_per_round / num_clients"
_LENGTH = (
    "a run is as long as optimizer.num_steps; one pass takes 1 / optimizer.sampling_rate of them, and clients' own are "
    "federated.local_epochs"
)
_STEPS = "a run is as long as optimizer.num_steps, which are rounds if federated"
_LEARNING_RATE = "the step size is optimizer.learning_rate; that of clients is federated.client_learning_rate"
_PER_UNIT = "every unit is clipped by itself, and microbatch_size changes memory and speed only"
_ENGINE = "every engine clips each unit by itself and gives the same sum; engine=auto chooses the fastest"
_SAMPLING = "cohorts are drawn by optimizer.sampling, poisson by default, and accounted as they are drawn"
_CLIENTS = "clients in all are federated.num_clients, and those expected in a round federated.clients_per_round"
_SEEDS = "the first seed is seed, and num_seeds of them follow from it on"
_DATA = "the data set is data.name, a name in `dpjax data list`, or data=own with data.path for a file of your own"
_SECRET = (  # nosec B105 # no password
    "noise follows from seed, so that ε is claimed only against those who do not know it; draw a secret one for a "
    "release"
)

OTHER_NAMES = {
    "unit": _UNIT,
    "level": _UNIT,
    "privacy_unit": _UNIT,
    # the bound
    "max_grad_norm": _CLIP_NORM,
    "max_per_sample_grad_norm": _CLIP_NORM,
    "l2_norm_clip": _CLIP_NORM,
    "l2_clip_norm": _CLIP_NORM,
    "l2_clipping_norm": _CLIP_NORM,
    "clipping_norm": _CLIP_NORM,
    "clip_norm": _CLIP_NORM,
    "clip": _CLIP_NORM,
    # noise and ε
    "noise_multiplier": _NOISE,
    "sigma": _NOISE,
    "target_epsilon": _EPSILON,
    "epsilon": _EPSILON,
    "target_delta": _DELTA,
    "delta": _DELTA,
    "secure_mode": _SECRET,
    "secure_rng": _SECRET,
    # how long, and how many at once
    "epochs": _LENGTH,
    "num_epochs": _LENGTH,
    "n_epochs": _LENGTH,
    "num_train_epochs": _LENGTH,
    "steps": _STEPS,
    "max_steps": _STEPS,
    "num_steps": _STEPS,
    "rounds": _STEPS,
    "num_rounds": _STEPS,
    "n_rounds": _STEPS,
    "batch_size": _SIZE,
    "expected_batch_size": _SIZE,
    "train_batch_size": _SIZE,
    "per_device_train_batch_size": _SIZE,
    "logical_batch_size": _SIZE,
    "lot_size": _SIZE,
    "cohort_size": _SIZE,
    "physical_batch_size": _PER_UNIT,
    "max_physical_batch_size": _PER_UNIT,
    "gradient_accumulation_steps": _PER_UNIT,
    "num_microbatches": _PER_UNIT,
    "sample_rate": _RATE,
    "sampling_rate": _RATE,
    "sampling_probability": _RATE,
    "poisson_sampling": _SAMPLING,
    "grad_sample_mode": _ENGINE,
    "ghost_clipping": _ENGINE,
    # the optimizer, seeds and data
    "lr": _LEARNING_RATE,
    "learning_rate": _LEARNING_RATE,
    "server_learning_rate": _LEARNING_RATE,
    "client_lr": "the step size of clients is federated.client_learning_rate",
    "seeds": _SEEDS,
    "random_seed": _SEEDS,
    "seed": _SEEDS,
    "dataset": _DATA,
    "dataset_name": _DATA,
    # federations
    "n_clients": _CLIENTS,
    "num_clients": _CLIENTS,
    "clients": _CLIENTS,
    "clients_per_round": _CLIENTS,
    "fraction_fit": _CLIENTS,
    "client_fraction": _CLIENTS,
    "local_epochs": "passes of a client over its rows are federated.local_epochs, in place of federated.local_steps",
}
"""The last word of a name that no field has → our field, and what differs in meaning, as half a sentence."""
