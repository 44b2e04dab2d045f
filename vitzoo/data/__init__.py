"""Pictures with classes from folders, archives, shards and Hugging Face datasets."""
