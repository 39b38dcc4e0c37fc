"""Files from package registries: found, downloaded, checked against their hash and unpacked."""
