What stands in files here whose names end with .toml holds over /etc/kadabra/kadabra.toml, key by key, in the order of their names.
kadabra check --show prints the configuration that comes of it, and which file each value is from.
