"""Pure rules: no I/O, no clock, no threads, no logging. `now` is an argument."""
