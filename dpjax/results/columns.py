"""The columns of a results row: the one table of them."""

from typing import Literal, NamedTuple

from dpjax.accounting.samplings import SAMPLINGS

Dtype = Literal["str", "int", "float", "bool", "floats", "ints", "json"]


class Column(NamedTuple):
    """One column of the results table.

    Attributes:
      name: its name in every file and table.
      dtype: str, int, float, bool, a list (floats, ints), or json (a JSON document kept as text).
      unit: what its numbers count; empty for names and texts.
      meaning: one sentence.
      better: for a metric, whether higher or lower is better; None for everything that is not a metric.
    """

    name: str
    dtype: Dtype
    unit: str
    meaning: str
    better: Literal["higher", "lower"] | None = None


COLUMNS: tuple[Column, ...] = (
    # which run
    Column("experiment", "str", "", "Name of the experiment config that the sweep ran."),
    Column("method", "str", "", "Name under which a leaderboard lists the run; empty outside of one."),
    Column("config_hash", "str", "", "Digest of the config without seeds and output paths: names the point."),
    Column("overrides", "str", "", "Hydra overrides of this job, as typed."),
    Column("seed", "int", "", "Seed of this row; seeds of one point share config_hash."),
    Column("dataset", "str", "", "Name of the data set in the registry."),
    Column("model", "str", "", "Name of the model, or of the checkpoint that was tuned."),
    Column("loss", "str", "", "What was minimised: a plugin's loss by its file; empty: the model's own cross-entropy."),
    Column("hidden", "str", "", "Widths of the hidden layers of mlp and text; empty for other models."),
    Column("tuning", "str", "", "What of a pretrained model was trained, such as lora(rank); empty from scratch."),
    Column("dtype", "str", "", "Numbers that a pretrained model computed in, such as bfloat16; empty: float32."),
    Column("checkpoint", "str", "", "Where pretrained weights came from, and what is to be said of them."),
    Column("trained_parameters", "int", "numbers", "Numbers that were trained, each clipped and noised."),
    Column("max_length", "int", "tokens", "Longest text; longer ones lost their end. Empty where rows are no texts."),
    Column("cut_share", "float", "fraction", "Share of the training texts that lost their end; NOT private."),
    # the mechanism
    Column("unit", "str", "", "What is protected: example, user or client."),
    Column(
        "records_per_unit",
        "int",
        "records",
        "Most records of a unit, where records are drawn and clipped one by one; empty if units are.",
    ),
    Column(
        "owners",
        "int",
        "owners",
        "Who the training rows belong to, where ε is not for an owner of rows; empty if it is, or if nobody says. "
        "NOT private.",
    ),
    Column("rows_per_owner", "int", "rows", "Most training rows that one of those owners has; NOT private."),
    Column("split", "str", "", "Who is tested, of a data set of one's own; others have one split."),
    Column(
        "learnt",
        "str",
        "",
        "What the inputs were made with that was read off the training rows, as the range of a column: it is NOT "
        "private, and ε says nothing of it. Empty if all was said in the config.",
    ),
    Column(
        "released",
        "str",
        "",
        "What the inputs were made with that was computed from noisy counts, as the range of a column; ε includes it.",
    ),
    Column(
        "release_noise_multiplier",
        "float",
        "",
        "Of those counts: noise standard deviation divided by the most that one unit moves all of them.",
    ),
    Column(
        "release_delta",
        "float",
        "probability",
        "Chance that a name was released which only one unit has; δ pays for it.",
    ),
    Column("adjacency", "str", "", "Which data sets count as neighbours, such as zero_out."),
    Column("sampling", "str", "", f"How cohorts are drawn: {', '.join(SAMPLINGS)}."),
    Column("sampling_rate", "float", "probability", "Chance that a given unit is in a given cohort."),
    Column("num_steps", "int", "steps", "Noisy steps (federated: rounds) taken."),
    Column(
        "population",
        "int",
        "units",
        "Units in the training data, or their records where those are drawn; public.",
    ),
    Column(
        "num_units",
        "int",
        "units",
        "Units that ε protects, as many owners where population counts their records; public as that is.",
    ),
    Column("capacity", "int", "slots", "Slots that a cohort has room for."),
    Column(
        "overflow_probability",
        "float",
        "probability",
        "Bound on the chance that any cohort of the run had more units than slots; ε pays for it.",
    ),
    Column(
        "abort_probability",
        "float",
        "probability",
        "Bound on the chance that any round was given up, as far as that says who is there; ε pays for it.",
    ),
    Column("epsilon", "float", "nats", "The ε asked for; inf for the non-private reference."),
    Column("delta", "float", "probability", "The δ that every ε of this row is stated at."),
    Column("accountant", "str", "", "Accountant that calibrated the noise: pld or rdp."),
    Column("epsilon_pld", "float", "nats", "ε of the mechanism that ran, by privacy loss distributions."),
    Column("epsilon_rdp", "float", "nats", "ε of the mechanism that ran, by Rényi DP."),
    Column("tuning_accounted", "bool", "", "Whether ε pays for choosing hyper-parameters on the private data."),
    Column(
        "noise_multiplier",
        "float",
        "clip norms",
        "Noise standard deviation divided by the clip norm; if adaptive, of sum and count together.",
    ),
    Column(
        "noise",
        "str",
        "",
        "What hides a unit: gaussian or correlated(…) on the sum, or what clients add themselves; empty if nothing.",
    ),
    Column("noise_dimension", "int", "coordinates", "Coordinates of a message to which clients add shares of noise."),
    Column("noise_levels", "int", "levels", "Grid steps in a clip norm; those shares are whole numbers of them."),
    Column("noise_shares", "int", "clients", "Clients whose shares are sure to be in a sum; empty if none add any."),
    Column("secret_cohorts", "bool", "", "Whether ε relies on who takes part staying secret, where shares are added."),
    Column("epsilon_per_report", "float", "nats", "ε of one report that a client randomises itself; empty if none."),
    Column(
        "noise_cohort_size",
        "float",
        "clients",
        "SIMULATED: the noise, and ε, are those of a federation with so many clients a round; empty if real.",
    ),
    Column("ledger", "str", "", "Name of the ledger whose budget paid for the run; empty: data without a budget."),
    Column("ledger_run", "str", "", "Id of the run in that ledger."),
    Column("clip_norm", "float", "L2 norm", "Bound on one unit's contribution; if adaptive, the first step's."),
    Column("final_clip_norm", "float", "L2 norm", "Bound in the last step; differs from clip_norm if adaptive."),
    Column(
        "clipping",
        "str",
        "",
        "Rule that clipped, a plugin's too: flat, per_layer, groups, automatic(γ), adaptive(quantile); empty if none.",
    ),
    # the optimizer and the federation
    Column("optimizer", "str", "", "What was applied to the noised mean, with its parameters; a plugin's by its file."),
    Column("momentum", "float", "", "Heavy-ball momentum of sgd, or that a plugin's depends on; else empty."),
    Column(
        "plugin",
        "str",
        "",
        "File whose optimizer, rule, model, loss or scores ran, and what its source hashes to; empty: none.",
    ),
    Column("learning_rate", "float", "", "Step size of the (server) optimizer; empty if a plugin's depends on none."),
    Column("clients_per_round", "float", "clients", "Expected cohort size of a federated round; empty if central."),
    Column("num_clients", "int", "clients", "Clients in the federation; empty if central."),
    Column(
        "partition",
        "str",
        "",
        "How the rows are split over units, such as dirichlet(α); natural: as the data says whose they are; empty "
        "where units are rows.",
    ),
    Column(
        "algorithm",
        "str",
        "",
        "fedavg, fedprox(μ), scaffold, ..., fedadam where the server runs Adam on FedAvg; empty if central.",
    ),
    Column("aggregation", "str", "", "How messages meet: plain, secure or homomorphic; empty if central."),
    Column("robust", "str", "", "What stands in place of the sum, such as median; none if it is the sum."),
    Column("corruption", "str", "", "What corrupted clients do, and their share; none if all are honest."),
    Column("compression", "str", "", "How messages are made smaller; none if they are sent whole."),
    # what came out
    Column(
        "overflow_count",
        "int",
        "steps",
        "Steps that drew more units than there are slots, and dropped some; 0 is sound; NOT private.",
    ),
    Column(
        "rejected_count", "int", "units", "Non-finite contributions counted as zero, over the whole run; NOT private."
    ),
    Column(
        "diverged",
        "bool",
        "",
        "Whether a parameter, a test logit or a loss was not finite after the last step; no metric of it is a result; "
        "NOT private.",
    ),
    Column("test_accuracy", "float", "fraction", "Accuracy on the test set after the last step.", "higher"),
    Column("train_accuracy", "float", "fraction", "Accuracy on the training set; NOT private.", "higher"),
    Column(
        "test_balanced_accuracy",
        "float",
        "fraction",
        "Mean recall of the classes on the test set; see `scores`.",
        "higher",
    ),
    Column(
        "test_auroc",
        "float",
        "fraction",
        "Area under the ROC curve on the test set: of the second of two classes, of more the mean of each.",
        "higher",
    ),
    Column(
        "test_majority",
        "float",
        "fraction",
        "Share of the test rows that are of the commonest class of the training rows.",
    ),
    Column("test_auprc", "float", "fraction", "Average precision on the test set, likewise.", "higher"),
    Column("test_f1", "float", "fraction", "F1 on the test set, likewise.", "higher"),
    Column(
        "test_calibration_error",
        "float",
        "fraction",
        "Expected calibration error on the test set, of 15 bins.",
        "lower",
    ),
    Column(
        "canaries",
        "str",
        "",
        "Secrets that were planted in the training set, which is another data set by them; empty: none.",
    ),
    Column(
        "pseudonymised",
        "bool",
        "",
        "Whether addresses, dates and long numbers in texts were replaced; no anonymisation, no substitute for ε.",
    ),
    Column(
        "exposure",
        "float",
        "bits",
        "Mean exposure of planted secrets after training: log₂ of candidates / rank; an attack's figure, NOT a bound.",
        "lower",
    ),
    Column("exposure_before", "float", "bits", "The same before training; of a model that knows none near 1.44."),
    Column("exposures", "floats", "bits", "Exposure of each planted secret after training."),
    Column("exposures_before", "floats", "bits", "Exposure of each before training."),
    Column("canary_copies", "ints", "rows", "How often each of them was planted."),
    Column("canary_candidates", "int", "texts", "What each was ranked among, itself included."),
    Column(
        "test_r2",
        "float",
        "",
        "Where a number is predicted: 1 − squared error / variance of the test labels; always saying their mean is 0.",
        "higher",
    ),
    Column("test_mae", "float", "labels", "Mean absolute error on the test set, in the label's own unit.", "lower"),
    Column("test_rmse", "float", "labels", "Root of the mean squared error on the test set, likewise.", "lower"),
    Column("train_r2", "float", "", "R² on the training set, whose labels are in their range; NOT private.", "higher"),
    Column(
        "test_loss",
        "float",
        "nats",
        "Mean loss on the test set after the last step; of a number the squared error of the label in [-1, 1].",
        "lower",
    ),
    Column("train_loss", "float", "nats", "Mean loss on the training set; NOT private.", "lower"),
    Column("eval_steps", "ints", "steps", "Steps at which the curves below were evaluated."),
    Column("eval_test_accuracy", "floats", "fraction", "Test accuracy at eval_steps."),
    Column("eval_test_loss", "floats", "nats", "Test loss at eval_steps."),
    Column("validation_accuracy", "float", "fraction", "Accuracy on rows held out of training; NOT private.", "higher"),
    Column("validation_r2", "float", "", "R² on rows held out of training; NOT private.", "higher"),
    Column("validation_loss", "float", "nats", "Mean loss on rows held out of training; NOT private.", "lower"),
    Column("eval_clip_norm", "floats", "L2 norm", "Clip norm, mean over the steps since the evaluation before."),
    Column("eval_mean_norm", "floats", "L2 norm", "Norm of contributions before clipping, likewise; NOT private."),
    Column("eval_clipped_share", "floats", "fraction", "Share of contributions that were clipped; NOT private."),
    Column(
        "eval_signal_to_noise",
        "floats",
        "",
        "Norm of the clipped sum over stddev × √coordinates of its noise; empty without; NOT private.",
    ),
    Column(
        "norm_counts_first",
        "ints",
        "contributions",
        "How many had a norm in each bin (half-octaves of the clip norm) in the first tenth of steps; NOT private.",
    ),
    Column("norm_counts_last", "ints", "contributions", "The same in the last tenth of the steps; NOT private."),
    Column("train_loss_curve", "floats", "nats", "Training loss at eval_steps; NOT private."),
    Column(
        "client_accuracy_mean",
        "float",
        "fraction",
        "Mean over clients of the accuracy on a client's own training rows; NOT private.",
    ),
    Column(
        "client_accuracy_p10",
        "float",
        "fraction",
        "A tenth of the clients are served worse, each on its own training rows; NOT private.",
    ),
    Column("client_accuracy_std", "float", "fraction", "Deviation of those accuracies over the clients; NOT private."),
    # how messages travelled
    Column(
        "dropped_count", "int", "clients", "Clients lost before their message arrived, over the whole run; NOT private."
    ),
    Column(
        "aborted_count",
        "int",
        "steps",
        "Rounds given up because too few clients answered; they change nothing; NOT private.",
    ),
    Column(
        "wrapped_count", "int", "coordinates", "Sums that left the ring and came back wrong; 0 is sound; NOT private."
    ),
    Column(
        "aggregation_error",
        "float",
        "clip norms",
        "Mean over rounds of the largest coordinate error of the sum; NOT private.",
    ),
    Column("uplink_bytes", "float", "bytes", "What one client sends in a round, protocol included; NOT private."),
    Column("encrypt_seconds", "float", "s", "Encrypting one round's messages, all clients together; NOT private."),
    Column("add_seconds", "float", "s", "Adding one round's ciphertexts; NOT private."),
    Column("decrypt_seconds", "float", "s", "Decrypting one round's sum; NOT private."),
    # what it cost
    Column(
        "wall_seconds", "float", "s", "This lane's own time without compiling; lanes side by side overlap; NOT private."
    ),
    Column(
        "epoch_seconds", "float", "s", "Time for one pass over the training units, evaluations included; NOT private."
    ),
    Column(
        "tokens_per_second",
        "float",
        "tokens / s",
        "Training tokens read per second, evaluations included; NOT private.",
    ),
    Column(
        "compile_seconds",
        "float",
        "s",
        "Compiling, or loading what was compiled before; its share where points shared it.",
    ),
    Column("peak_memory_mib", "float", "MiB", "Peak memory of the process or device while it ran; NOT private."),
    Column("device", "str", "", "Kind of device that ran it."),
    # how to run it again
    Column("git_revision", "str", "", "Git commit of the code, with -dirty if files had changed."),
    Column("dpjax_version", "str", "", "Version of dpjax."),
    Column("jax_version", "str", "", "Version of JAX."),
    Column("python_version", "str", "", "Version of Python."),
    Column("timestamp", "str", "", "When the row was made, ISO 8601 in UTC."),
    Column("code", "str", "", "Oldest version of dpjax that computes the same numbers as the one that ran."),
    Column(
        "inputs",
        "json",
        "",
        "SHA-256 of each file that was read besides the config: plugin, its modules, data, checkpoint; NOT private.",
    ),
    Column("config", "json", "", "The resolved config, as a JSON document."),
)

_OF_SECRETS = ("exposures", "exposures_before", "canary_copies")

CURVES: tuple[str, ...] = tuple(
    column.name for column in COLUMNS if column.dtype in ("ints", "floats") and column.name not in _OF_SECRETS
)
"""Lists that every run of dpjax's own has: over its evaluations, or of norms. Those of planted secrets are others."""
