"""Speed and memory as ratios against named peers, each pair measured in one run."""
