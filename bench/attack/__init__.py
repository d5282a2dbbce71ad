"""What strangers may cost: attacks on a stack of this machine, each with a goal that it prints and holds."""
