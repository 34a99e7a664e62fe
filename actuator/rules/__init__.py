"""Rule files and the policy: what they may say, reading them, and the life of a rule."""
