"""Views → outside: what other programs may ask a process about itself."""
