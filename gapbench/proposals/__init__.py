"""Training samples from plain images, made by the model itself: windows, what it reads there, questions, gates."""
