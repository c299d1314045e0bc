"""What embeddings are worth: verification exact at low false-accept rates, identification, template and pair protocols."""
