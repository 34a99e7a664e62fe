"""What an operator sees of a running actuator, and says to it, through the state directory."""
