"""From rules that act to setpoints, and how far those may go."""
