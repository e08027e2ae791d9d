"""What happens to rollouts between their drawing and their learning."""
