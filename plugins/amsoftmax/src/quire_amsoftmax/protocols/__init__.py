"""What is compared with what: the published verification and identification protocols, read from their own files."""
