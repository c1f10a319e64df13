"""What becomes of training's checkpoints: chosen, converted to Hugging Face directories, averaged."""
