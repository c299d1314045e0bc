"""The catalogue of fusion rules (T text, I image, A audio, V video, S series)."""
