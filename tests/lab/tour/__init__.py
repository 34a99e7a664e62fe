"""`make tour`: the classic steps of tuning a KVM host, on real guests, each with its numbers before and after."""
