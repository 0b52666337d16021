"""Search methods: one a file. Each is a frozen configuration with one generator, `propose`."""
