"""AugLy beside the rules of quire-duo: its operators in a process of their own, as rules that are checked as ours are."""
