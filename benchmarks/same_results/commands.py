"""What both revisions run: sweeps that together touch every kind, and mechanisms whose ε is asked for."""

_SMALL = "data=digits optimizer.num_steps=6 optimizer.evaluate_every=3 num_seeds=2 seed=3"
_CENTRAL = f"{_SMALL} privacy.epsilon=2 optimizer.sampling_rate=0.1"
_FEW = f"{_SMALL} federated.num_clients=60 federated.clients_per_round=12"
_CLIENTS = f"{_FEW} federated.local_batch_size=5"
_FEDERATED = f"{_CLIENTS} privacy.epsilon=4 privacy.delta=1e-3"
_OPEN = f"{_CLIENTS} privacy.epsilon=inf"
SWEEPS = {
    "quickstart": "experiment=quickstart",
    "sampling": f"{_CENTRAL} optimizer.sampling=poisson,fixed_size,shuffled,cyclic",
    "adjacency": f"{_CENTRAL} privacy.adjacency=zero_out,add_or_remove_one,replace_one privacy.accountant=pld,rdp",
    "clipping": f"{_CENTRAL} clipping=flat,per_layer,automatic,adaptive",
    "engine": f"{_CENTRAL} engine=auto,bookkeeping,microbatch,materialize",
    "microbatches": f"{_CENTRAL} engine=bookkeeping,microbatch microbatch_size=8",
    "optimizer": f"{_CENTRAL} optimizer=sgd,adam,adamw,adam_corrected,fedadam,fedavgm,fedyogi",
    "schedule": f"{_CENTRAL} optimizer.ema=0.9 optimizer.warmup_steps=2 optimizer.decay=cosine data.validation=0.2",
    "model": f"{_CENTRAL} model=logistic,cnn,scattering",
    "correlated": f"{_CENTRAL} privacy.noise=correlated optimizer.sampling=cyclic "
    "privacy.factorization=banded,optimal,buffered,tree",
    "given noise": f"{_CENTRAL} privacy.noise_multiplier=0.8,1.6 lanes=vmap",
    "algorithm": f"{_FEDERATED} federated.algorithm=fedavg,fedprox,fednova,scaffold,personalized,fedsgd",
    "local work": f"{_FEDERATED} federated.local_epochs=1 federated.straggler_rate=0.3 federated.num_buckets=2 "
    "federated.partition=quantity federated.algorithm=fedavg,fednova",
    "proximal": f"{_FEDERATED} federated.algorithm=fedprox federated.adaptive_proximal=true",
    "weights": f"{_OPEN} federated.weights=uniform,sizes federated.partition=quantity",
    "partition": f"{_FEDERATED} federated.partition=iid,dirichlet,shards,quantity",
    "sampled": f"{_FEDERATED} federated.partition=sampled federated.records_per_client=20",
    "client sampling": f"{_FEDERATED} optimizer.sampling=poisson,fixed_size,shuffled,cyclic",
    "local noise": f"{_FEDERATED} privacy.noise=local_gaussian,laplace,privunit privacy.adjacency=replace_one "
    "privacy.epsilon=50",
    "points of a sphere": f"{_FEDERATED} privacy.noise=sphere privacy.adjacency=replace_one privacy.epsilon=50",
    "shared noise": f"{_FEDERATED} privacy.noise=discrete_gaussian,skellam federated.aggregation=secure "
    "privacy.accountant=rdp privacy.epsilon=50 privacy.colluding=0,2",
    "inside clients": f"{_FEW} privacy.noise=inside_clients privacy.epsilon=8 privacy.delta=1e-3 "
    "federated.robust=none,median",
    "aggregation": f"{_FEDERATED} federated.aggregation=plain,secure,homomorphic optimizer.sampling=fixed_size",
    "dropouts": f"{_FEDERATED} federated.aggregation=plain,secure federated.dropout_rate=0.2 "
    "optimizer.sampling=fixed_size",
    "robust": f"{_OPEN} federated.robust=trimmed_mean,median,krum,multi_krum,geometric_median "
    "federated.corruption.name=sign_flipped",
    "corruption": f"{_FEDERATED} federated.corruption.name=nan,scaled,sign_flipped,noise,labels",
    "compression": f"{_FEDERATED} federated.compression.name=quantized,random_k,top_k,sketch",
    "error feedback": f"{_OPEN} federated.compression.name=top_k federated.compression.error_feedback=true",
    "larger cohort": f"{_FEDERATED} federated.noise_cohort=100",
}
_TEXTS = f"{_CENTRAL} data.name='./texts.csv?text=text&label=label&owner=owner' data.num_train=60"
CACHED = {
    "adult": ("datasets/adult.npz", f"{_CENTRAL} data=adult"),
    "natural": (
        "datasets/heart.npz",
        f"{_SMALL} data=heart federated.partition=natural privacy.epsilon=inf federated.clients_per_round=4",
    ),
    "owners": ("datasets/heart.npz", f"{_CENTRAL} data=heart privacy.records_per_unit=4"),
    "lm_head": ("models/minilm/config.json", f"{_TEXTS} model=pretrained model.max_length=12 tuning=head,bitfit,lora"),
}
"""Runs on what is fetched: only where the user's cache has it."""
_RATE = "--sampling-rate 0.01 --num-steps 2000 --delta 1e-6"
_POPULATION = "--population 50000 --expected-cohort-size 500 --epochs 5 --delta 1e-6"
ACCOUNTS = (
    *(f"epsilon --noise-multiplier {s} {_RATE}" for s in (0.6, 1.1, 4)),
    *(f"epsilon --noise-multiplier 1.1 {_POPULATION} --sampling {s}" for s in ("fixed_size", "shuffled", "cyclic")),
    *(f"epsilon --noise-multiplier 1.5 {_RATE} --adjacency {a}" for a in ("add_or_remove_one", "replace_one")),
    "epsilon --noise-multiplier 30 --sampling full --num-steps 100 --delta 1e-5 --unit client",
    f"epsilon --noise-multiplier 2 {_RATE} --unit user --records-per-unit 4",
    f"calibrate --epsilon 0.5,2,8,inf {_RATE}",
    f"calibrate --epsilon 1 {_POPULATION} --sampling fixed_size --accountant rdp",
)
